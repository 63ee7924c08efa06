"""Writing one object: a small one in one conditional request, a larger one in parts while it comes.

Nothing touches the disk. A part stays in memory until the service has it, so that it can be sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from obstore.exceptions import AlreadyExistsError, PreconditionError

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.process.pipes import BLOCK
from django_cfg.backup.storage.object_store.errors import REFUSED, code_of
from django_cfg.backup.storage.object_store.interpreter_exit import lend
from django_cfg.backup.storage.object_store.requests import Requests

if TYPE_CHECKING:
    from obstore import AsyncWritableFile

_log = logging.getLogger("django_cfg.backup")

MIB = 1 << 20
MOST_PARTS = 10_000  # of one upload, on every known service
SMALLEST_PART = 8 * MIB
LARGEST_PART = 525 * MIB  # 10,000 of them are the 5 TiB that an object may have
_MEMORY = 40 * MIB  # of parts held at once, as long as two of them fit into it
_MARGIN = 2  # an archive may become that many times as large as its database
_LAST_WORD = 60  # seconds that a publication gets to end when a signal came in the meantime
_ABORT = 15  # seconds


def part_size(expected_size: int) -> int:
    """Bytes of each part. All are equal: some services (R2) insist on it, so it cannot grow on the way."""
    needed = -(-expected_size * _MARGIN // MOST_PARTS)
    return min(max(SMALLEST_PART, -(-needed // MIB) * MIB), LARGEST_PART)


def parts_at_once(size: int) -> int:
    """How many parts of *size* bytes may be under way while the next one gathers."""
    return max(1, _MEMORY // size - 1)


class Upload:
    """The unfinished object *key*."""

    def __init__(self, requests: Requests, key: str, expected_size: int) -> None:
        self._requests = requests
        self._key = key
        self._part_size = part_size(expected_size)
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._size = 0
        self._writer: AsyncWritableFile | None = None
        self._is_interrupted = False

    def write(self, block: bytes) -> int:
        if self._is_interrupted:
            raise StorageError(f"The upload of {self._key} was given up.")
        self._size += len(block)
        if self._size > self._part_size * MOST_PARTS:
            raise self._too_large()
        self._gathered.append(block)
        self._gathered_size += len(block)
        if self._gathered_size >= (BLOCK if self._writer else self._part_size):
            self._send()
        return len(block)

    def interrupt(self) -> None:
        """End a ``write`` that waits in another thread: nothing more is wanted of it."""
        self._is_interrupted = True
        self._requests.wait.cancel()

    def finish(self) -> None:
        """Publish the object, and make sure of it.

        :raises NameTaken: there is an object *key* by now.
        """
        if self._writer is None:
            data = b"".join(self._taken())
            self._create(data)
            self._confirm(data)
        else:
            self._complete(self._writer)
            self._confirm()

    def abort(self) -> None:
        """Remove what the service has of it. A failure of that is logged: it happens on the way of another error."""
        writer, self._writer = self._writer, None
        self._gathered.clear()
        if writer is None:
            return
        try:
            self.interrupt()
            self._requests.wait.until(lambda: writer.__aexit__(StorageError, None, None), _ABORT)
        except REFUSED as error:
            reason = self._requests.storage_error(error, f"abort the upload of {self._key}")
            _log.warning("%s A lifecycle rule of the bucket removes unfinished uploads (docs/storage.md).", reason)

    def _send(self) -> None:
        """Hand over what has gathered. It waits while enough parts are under way."""
        if self._writer is None:
            self._writer = self._requests.open_writer(self._key, self._part_size, parts_at_once(self._part_size))
        writer, block = self._writer, lend(b"".join(self._taken()))
        self._requests.do(f"store {self._key}", lambda: writer.write(block))

    def _create(self, data: bytes, *, new: bool = True) -> None:
        """In one request, which a service that can refuses when *key* has been taken in the meantime."""
        try:
            self._publish(lambda: self._requests.putting(self._key, data, new=new))
        except (AlreadyExistsError, PreconditionError):
            if not self._is_stored(data):
                raise NameTaken.of(self._key, self._requests.place.location) from None
        except REFUSED as error:
            if new and code_of(error) == "NotImplemented":
                self._create(data, new=False)
            elif not self._is_stored(data):
                raise self._error(error) from None

    def _is_stored(self, data: bytes) -> bool:
        """Whether it is there although the answer was lost: a second attempt then meets the first one's object."""
        return self._requests.find(self._key) is not None and self._requests.fetch(self._key) == data

    def _complete(self, writer: AsyncWritableFile) -> None:
        """Make the object of its parts. It was asked before whether *key* is free: this request overwrites."""
        if self._gathered:
            self._send()
        self._requests.require_free(self._key)
        self._writer = None  # from here on it aborts automatically
        try:
            self._publish(writer.close)
        except REFUSED as error:
            if self._size_there() != self._size:  # else only the answer was lost
                raise self._error(error) from None

    def _publish(self, call: Callable[[], Awaitable[object]]) -> None:
        """Complete *call* even if a signal ends this process in the meantime; then what it published is withdrawn."""
        future = self._requests.wait.start(call)
        try:
            future.result()
        except Exception:
            raise
        except BaseException:
            if self._ended_well(future.result):
                self._requests.delete(self._key)
            raise

    def _ended_well(self, result: Callable[[float], object]) -> bool:
        try:
            result(_LAST_WORD)
        except (*REFUSED, CancelledError):
            return False
        return True

    def _confirm(self, data: bytes | None = None) -> None:
        """
        :param data: the object, if it went in one request.
        :raises NameTaken: another machine has replaced it.
        :raises StorageError: the service said yes, and what it has is not what it was given.
        """
        if (found := self._size_there()) == self._size:
            return
        if data is not None and found is not None and not data.startswith(self._requests.fetch(self._key)):
            raise NameTaken.of(self._key, self._requests.place.location)
        what = "it is not there" if found is None else f"it has {found:,} bytes instead of {self._size:,}"
        self._requests.delete(self._key)
        raise StorageError(
            f"{self._key} was stored in {self._requests.place.location}, which said yes, but {what}. "
            "Nothing was published. Try again; do not rely on this service if it happens again."
        )

    def _size_there(self) -> int | None:
        found = self._requests.find(self._key)
        return found["size"] if found else None

    def _taken(self) -> list[bytes]:
        gathered, self._gathered, self._gathered_size = self._gathered, [], 0
        return gathered

    def _error(self, error: BaseException) -> StorageError:
        return self._requests.storage_error(error, f"store {self._key}")

    def _too_large(self) -> StorageError:
        most = megabytes(self._part_size * MOST_PARTS)
        return StorageError(
            f"{self._key} is larger than {most}: more than {MOST_PARTS:,} parts of the size that was chosen for it "
            "from the size of its database. Nothing was published. Compress it, or leave out tables (exclude_tables)."
        )
