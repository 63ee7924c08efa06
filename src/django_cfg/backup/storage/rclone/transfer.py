"""Streams through rclone: one object on its way up, or down."""

from __future__ import annotations

from django_cfg.backup.errors import StorageError
from django_cfg.backup.process.child import Child
from django_cfg.backup.process.pipes import BLOCK
from django_cfg.backup.storage.rclone.program import Rclone


class Upload:
    """What is to become the object *key*, on its way into *child*."""

    def __init__(self, rclone: Rclone, key: str, child: Child) -> None:
        self.size = 0
        self._doing = f"store {key}"
        self._rclone, self._child = rclone, child
        self._is_interrupted = False

    def write(self, block: bytes) -> int:
        with self._rclone.refused_as(self._doing):
            try:
                self._child.stdin.write(block)
            except (BrokenPipeError, ValueError):
                self._raise_its_end()
        self.size += len(block)
        return len(block)

    def interrupt(self) -> None:
        """End a ``write`` that waits in another thread: nothing more is wanted of it."""
        self._is_interrupted = True
        self._child.kill()

    def finish(self) -> None:
        """Wait until the remote has all of it."""
        with self._rclone.refused_as(self._doing):
            try:
                self._child.stdin.close()
            except BrokenPipeError:
                self._raise_its_end()
            self._child.wait()

    def _raise_its_end(self) -> None:
        """Rclone's own words say more than a broken pipe."""
        if self._is_interrupted:
            raise StorageError(f"Could not {self._doing}: it was given up.") from None
        self._child.wait()
        raise BrokenPipeError


class Download:
    """The object *key*, from its start to its end, which is only reported when rclone has succeeded.

    :param size: that the object has; fewer or more bytes are an error.
    """

    def __init__(self, rclone: Rclone, key: str, size: int, child: Child) -> None:
        self._rclone, self._key, self._child = rclone, key, child
        self._missing = size

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        block = self._child.stdout.read(size)
        self._missing -= len(block)
        if not block and size:
            with self._rclone.refused_as(f"read {self._key}"):
                self._child.wait()
            if self._missing:
                raise StorageError(
                    f"{self._key} in {self._rclone.remote} has another size than the remote reports: something changes "
                    "it while it is read, or the connection broke. Try again."
                )
        return block
