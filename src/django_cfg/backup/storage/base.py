"""The contract of a storage. The same test suite runs over all of them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from django_cfg.backup.errors import StorageError
from django_cfg.backup.pipeline.stream import Readable, Writable


@dataclass(frozen=True)
class StoredObject:
    """One object: its key below the storage's root, its size in bytes, when it was written (UTC)."""

    key: str
    size: int
    modified: datetime
    etag: str = field(default="", compare=False)  # another one for another content; empty: not known


@dataclass(frozen=True)
class Immutability:
    """What keeps a storage's objects after they were deleted, or from being deleted."""

    has_versions: bool = False  # what is deleted stays, hidden
    can_lock: bool = False
    default_days: int = 0  # for which the storage itself locks each object; 0: it does not
    default_mode: str = ""  # likewise
    own_days: int = 0  # for which this package locks each object that it stores; 0: it does not
    own_mode: str = ""

    @property
    def lock(self) -> tuple[int, str]:
        """The days and the mode of the lock that an object gets; a lock of its own comes before the storage's."""
        return (self.own_days, self.own_mode) if self.own_days else (self.default_days, self.default_mode)


def require_inside(key: str, location: str) -> None:
    """
    :raises StorageError: *key* is no path below the storage's root.
    """
    if "\0" in key:
        raise StorageError(f"{key!r} is no name of an object in {location}.")
    if key.startswith("/") or ".." in key.split("/"):
        raise StorageError(f"{key!r} leads out of {location}.")


@contextmanager
def removed_on_error(storage: Storage) -> Iterator[list[str]]:
    """Delete the objects whose keys the block has put into the list, if it fails: half a backup looks damaged."""
    made: list[str] = []
    try:
        yield made
    except BaseException:
        for key in made:
            storage.delete(key)
        raise


class Storage(ABC):
    """Objects under keys. A key is a relative path with ``/``, without ``..``.

    All methods raise StorageError, in words that name the place and the way out; none returns less
    than it found because something went wrong on the way. ``stat``, ``read`` and ``delete`` may be called
    from several threads at once.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """The place, for messages."""

    @property
    def identity(self) -> tuple[str, str]:
        """What serves it, and the path in that which ends with a slash: equal however the place is spelled.

        Of a folder links are followed.
        """
        if self.folder:
            return "", os.path.join(os.path.realpath(self.folder), "")  # noqa: PTH118  a Path has no slash at its end
        return self.location, ""

    def overlaps(self, other: Storage) -> bool:
        """Return True if an object of one may be an object of the other."""
        (host, path), (other_host, other_path) = self.identity, other.identity
        return host == other_host and (path.startswith(other_path) or other_path.startswith(path))

    @abstractmethod
    def publish(self, key: str, *, expected_size: int = 0) -> AbstractContextManager[Writable]:
        """A writer of the object *key*.

        The object appears complete, and only when the block ends without an exception; after one nothing
        is left. When it appears it is on stable storage. Nothing is ever overwritten.

        :param expected_size: bytes, an upper estimate; 0 if unknown.
        :raises NameTaken: *key* exists.
        :raises NotEnoughSpace: the place is full.
        """

    @abstractmethod
    def open(self, key: str) -> AbstractContextManager[Readable]:
        """A reader of the object *key*. A missing object is a StorageError."""

    @abstractmethod
    def stat(self, key: str) -> StoredObject | None:
        """What *key* is, or None when there is no such object."""

    @abstractmethod
    def list(self) -> Iterator[StoredObject]:
        """All published objects, in no order. Unfinished ones are not among them."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object *key*; one that is gone already is no error.

        :raises ObjectLocked: the storage does not allow it yet.
        """

    @abstractmethod
    def is_taken(self, name: str) -> bool:
        """True when an object of the backup *name* exists or is being written."""

    def new_infix(self) -> str:
        """Return a part for an archive's key that no other run has; "" where two runs cannot write the same key."""
        return ""

    @property
    def sends_in_the_clear(self) -> bool:
        """Whether what is stored crosses a network that others can read."""
        return False

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that holds the objects; None: they are not in one."""
        return None

    def free_space(self) -> int | None:
        """Return the bytes that can still be stored, or None if unknown."""
        return None

    def immutability(self) -> Immutability | None:
        """Return what keeps objects that are deleted; None: nothing does, or it cannot be asked.

        :raises StorageError: the storage refuses to say.
        """
        return None

    def abandoned(self, before: datetime) -> Iterator[StoredObject]:
        """Yield unfinished objects of ours that were not written to since *before*; :meth:`delete` removes them."""
        return iter(())

    def write(self, key: str, data: bytes) -> None:
        """Publish a small object."""
        with self.publish(key, expected_size=len(data)) as sink:
            sink.write(data)

    def read(self, key: str) -> bytes:
        """Return the content of a small object."""
        with self.open(key) as source:
            return source.read()

    def read_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | StorageError]]:
        """Many small objects, each with its own error; an object that fails does not hide the others."""
        for key in keys:
            try:
                yield key, self.read(key)
            except StorageError as error:
                yield key, error
