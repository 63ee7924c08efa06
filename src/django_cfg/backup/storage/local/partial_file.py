"""The unfinished file of the local storage, under a name of its own until it is complete."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from django_cfg.backup.errors import NotEnoughSpace, StorageError
from django_cfg.backup.storage.local.direct_io import UncachedFile

_FULL = {errno.ENOSPC, errno.EDQUOT}


class PartialFile:
    """The unfinished file. Its own errors become ours; those of the code that writes pass unchanged."""

    def __init__(self, target: Path, expected_size: int) -> None:
        self.path = target.with_name(f".{target.name}.{uuid4().hex}.part")
        self._expected_size = expected_size
        self._written = 0
        try:
            self._file = UncachedFile(self.path)
        except OSError as error:
            raise self._error_of(error) from error

    def write(self, block: bytes) -> int:
        try:
            count = self._file.write(block)
        except OSError as error:
            raise self._error_of(error) from error
        self._written += count
        return count

    def finish(self) -> None:
        try:
            self._file.finish()
        except OSError as error:
            raise self._error_of(error) from error

    @contextmanager
    def withdrawn_on_error(self, target: Path) -> Iterator[None]:
        """Take the final name back if the block fails after giving it: nothing half done is published."""
        mine = os.fstat(self._file.fileno())
        try:
            yield
        except BaseException:
            with suppress(FileNotFoundError):
                if os.path.samestat(target.stat(), mine):
                    target.unlink()
            raise

    def discard(self) -> None:
        """Remove the part's own name; what was published keeps its data."""
        try:
            with suppress(OSError):  # of a part that is thrown away
                self._file.close()
        finally:
            self.path.unlink(missing_ok=True)

    def _error_of(self, error: OSError) -> StorageError:
        folder = self.path.parent
        if error.errno not in _FULL:
            return StorageError.from_os("write in", folder, error)
        needed = max(self._expected_size, self._written + 1)
        advice = "Free some space there, or let local_path name another place. Nothing was published."
        return NotEnoughSpace.of(folder, needed, shutil.disk_usage(folder).free, advice)
