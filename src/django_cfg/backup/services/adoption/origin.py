"""Where an archive is found that is to be adopted: a file of this machine, or an object of the storage."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from django_cfg.backup.errors import StorageError, UsageError
from django_cfg.backup.formatting import printable
from django_cfg.backup.pipeline.stream import Readable
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.storage.base import Storage, StoredObject
from django_cfg.backup.storage.local import LocalStorage

# Of django-dbbackup's names, and of this package's, which are those of django-cfg; both are local times.
_TIMES = {
    "%Y-%m-%d-%H%M%S": re.compile(r"(?<!\d)\d{4}-\d\d-\d\d-\d{6}(?!\d)"),
    "%Y%m%d_%H%M%S": re.compile(r"(?<!\d)\d{8}_\d{6}(?!\d)"),
}


class Origin(ABC):
    """An archive as it was found. It is read, and never changed or removed."""

    name: str  # for messages and for the manifest: without what a terminal acts on
    size: int  # bytes
    modified: datetime

    @abstractmethod
    def open(self) -> AbstractContextManager[Readable]:
        """A reader of its bytes."""

    def time_in_name(self, zone: tzinfo) -> datetime | None:
        """Return when it was made, by its name, as a local time of *zone*; None: its name does not say."""
        for form, pattern in _TIMES.items():
            if len(found := pattern.findall(self.name)) == 1:
                with suppress(ValueError):
                    return datetime.strptime(found[0], form).replace(tzinfo=zone)
        return None


class FileOrigin(Origin):
    """A file, which is copied into the storage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = _fit(path.name)
        try:
            found = path.stat()
        except OSError as error:
            raise StorageError.from_os("read", path, error) from error
        self.size = found.st_size
        self.modified = datetime.fromtimestamp(found.st_mtime, UTC)

    def open(self) -> AbstractContextManager[Readable]:
        return LocalStorage(self.path.parent).open(self.path.name)

    def list_companions(self) -> list[Path]:
        """Return the files next to it in which SQLite keeps the newest data, or what undoes a half-made change."""
        companions = [self.path.with_name(f"{self.path.name}{suffix}") for suffix in ("-wal", "-journal")]
        return [path for path in companions if path.is_file() and path.stat().st_size > 0]


class ObjectOrigin(Origin):
    """An object of the storage that no manifest names."""

    def __init__(self, storage: Storage, found: StoredObject) -> None:
        self._storage = storage
        self.key = found.key
        self.name = _fit(found.key)
        self.size, self.modified = found.size, found.modified

    def open(self) -> AbstractContextManager[Readable]:
        return self._storage.open(self.key)


def find_origin(project: Project, text: str) -> Origin:
    """Return what *text* names: the path of a file, or the key of an object in the storage.

    :raises UsageError: neither exists, or both do and differ.
    """
    if not text or "\0" in text:
        raise UsageError(f"{printable(text)!r} is no name of a file or of an object.")
    path, storage = Path(text), project.storage
    if _kind_of(path) is Path.is_dir:
        raise UsageError(
            f"{printable(text)} is a folder. An archive is one file; pg_dump's directory format is not adopted: "
            "restore it with pg_restore into a database of its own, and back that one up with backup_create."
        )
    key = _key_of(storage, path) or ("" if text.startswith(("/", "./")) or ".." in text.split("/") else text)
    found = storage.stat(key) if key else None
    is_file = _kind_of(path) is Path.is_file
    if found and is_file and _key_of(storage, path) != key:
        raise UsageError(
            f"{printable(text)} is both a file here and an object in {storage.location}: write ./{printable(text)} for "
            "the file, or go to another folder and name the object from there."
        )
    if found:
        return ObjectOrigin(storage, found)
    if is_file:
        return FileOrigin(path)
    raise UsageError(f"There is no file {printable(text)}, and no object of that name in {storage.location}.")


def _kind_of(path: Path) -> Callable[[Path], bool] | None:
    try:
        return next((is_such for is_such in (Path.is_dir, Path.is_file) if is_such(path)), None)
    except OSError as error:
        raise StorageError.from_os("look at", printable(str(path)), error) from error


def _key_of(storage: Storage, path: Path) -> str:
    """The key of the file *path*, if that is in the folder of the storage; else empty."""
    if not isinstance(storage, LocalStorage):
        return ""
    absolute, root = path.absolute().resolve(), storage.root.absolute().resolve()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) and absolute != root else ""


def _fit(name: str) -> str:
    return printable(name.encode(errors="backslashreplace").decode())
