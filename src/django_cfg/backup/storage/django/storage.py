"""A storage of Django's. Its API can neither stream nor rename: an object is written to a private file first."""

from __future__ import annotations

import errno
import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import InvalidStorageError, storages
from django.core.files.storage import Storage as Files
from django.utils import timezone

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, NameTaken, NotEnoughSpace, StorageError
from django_cfg.backup.pipeline.stream import Readable, Writable, blocks
from django_cfg.backup.process.private_dir import create_private, private_dir
from django_cfg.backup.process.redaction import redact
from django_cfg.backup.storage.base import Storage, StoredObject, require_inside
from django_cfg.backup.storage.django.secret_options import secrets_of_options

_log = logging.getLogger("django_cfg.backup")
_MOST = 300  # characters of a storage's own words


class DjangoStorage(Storage):
    """Objects of *files*, Django's storage under *alias*.

    Whether an object appears complete or not at all, and whether of two that are saved at once under one name only one
    is, depends on that storage: Django's own files in a folder are written under their final name. What it saves under
    another name than the wanted one is deleted.
    """

    def __init__(self, alias: str, files: Files, hidden: Iterable[str] = ()) -> None:
        self.alias, self._files, self._hidden = alias, files, tuple(hidden)

    @classmethod
    def of(cls, config: BackupStorageConfig) -> DjangoStorage:
        """
        :raises ConfigurationError: there is no such alias, or its storage cannot be made.
        """
        alias = config.django_alias or ""
        known = settings.STORAGES
        hidden = tuple(secrets_of_options(known.get(alias, {}).get("OPTIONS", {})))
        try:
            return cls(alias, storages[alias], hidden)
        except InvalidStorageError:
            aliases = f"its aliases are: {', '.join(sorted(known)) or 'none'}"
            reason = "its BACKEND cannot be imported" if alias in known else aliases
        except Exception as error:  # noqa: BLE001  whatever the storage's class makes of its options
            reason = f"its storage cannot be made: {_words(error, hidden)}"
        raise ConfigurationError(
            f"BackupStorageConfig.django_alias is {alias!r}, which settings.STORAGES does not offer: {reason}."
        ) from None

    @property
    def location(self) -> str:
        return f"STORAGES[{self.alias!r}]"

    @property
    def folder(self) -> Path | None:
        try:
            return Path(self._files.path(""))
        except Exception:  # noqa: BLE001  it has none, and says so in a way of its own
            return None

    def new_infix(self) -> str:
        """Return eight random digits: of two saved under one name, the second could replace the first."""
        return f".{secrets.token_hex(4)}"

    @contextmanager
    def publish(self, key: str, *, expected_size: int = 0) -> Iterator[Writable]:
        require_inside(key, self.location)
        self._require_free(key)
        with private_dir() as folder:
            path = folder / "object"
            with create_private(path) as file:
                yield _Spool(file)
            self._save(path, key)

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        if self.stat(key) is None:
            raise StorageError(f"{key} is missing in {self.location}.")
        with self._refused_as(f"read {key}"):
            file = self._files.open(key, "rb")
        try:
            yield _Source(self, file, key)
        finally:
            file.close()

    def stat(self, key: str) -> StoredObject | None:
        require_inside(key, self.location)
        with self._refused_as(f"look at {key}"):
            try:
                if not self._files.exists(key) or self._is_folder(key):
                    return None
                return self._object(key)
            except (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError):
                return None  # a folder, or below a file

    def list(self) -> Iterator[StoredObject]:
        return self._below("")

    def delete(self, key: str) -> None:
        if self.stat(key) is None:
            return  # of a folder in the file system Django would remove the folder
        with self._refused_as(f"delete {key}"):
            self._files.delete(key)

    def is_taken(self, name: str) -> bool:
        require_inside(name, self.location)
        folder, _, last = name.rpartition("/")
        return any(found.startswith(f"{last}.") for found in self._listdir(folder)[1])

    def _below(self, folder: str) -> Iterator[StoredObject]:
        folders, names = self._listdir(folder)
        for key in (f"{folder}{name}" for name in names if name):
            if found := self._listed(key):
                yield found
        for name in folders:
            yield from self._below(f"{folder}{name.rstrip('/')}/")

    def _listed(self, key: str) -> StoredObject | None:
        """Like :meth:`stat`, which asks once more, for what was there just now."""
        try:
            return self._object(key)
        except Exception:  # noqa: BLE001  it has gone, or the storage fails: that is found out here
            return self.stat(key)

    def _listdir(self, folder: str) -> tuple[Sequence[str], Sequence[str]]:
        with self._refused_as("list the objects"):
            try:
                folders, names = self._files.listdir(folder.rstrip("/"))
            except (FileNotFoundError, NotADirectoryError):
                return (), ()
            return tuple(folders), tuple(names)

    def _save(self, path: Path, key: str) -> None:
        """
        :raises NameTaken: there is an object *key* by now; the storage has chosen another name, which is deleted.
        """
        self._require_free(key)
        size, stored = path.stat().st_size, ""
        try:
            with self._refused_as(f"store {key}"), path.open("rb") as file:
                stored = self._files.save(key, File(file, name=key))
        except BaseException:
            self._discard(key, path)
            raise
        if stored != key:
            with self._refused_as(f"delete {stored}"):
                self._files.delete(stored)
            raise NameTaken(
                f"{self.location} saved {key} as {stored}, which was deleted again: another process has taken the "
                "name, or this storage changes names. Run the backup again; if it fails again, choose "
                "a plain filename_template."
            )
        found = self.stat(key)
        if found is None or found.size != size:
            what = "it is not there" if found is None else f"it has {found.size:,} bytes instead of {size:,}"
            self._discard(key, path)
            raise StorageError(f"{key} was saved in {self.location} without an error, but {what}. Try again.")

    def _discard(self, key: str, path: Path) -> None:
        """Delete what a failed save has left under the name, if it is the beginning of *path*: else it is another's."""
        try:
            if self.stat(key) and self._is_beginning(key, path):
                self.delete(key)
        except StorageError as error:
            _log.warning("%s A part of it may be there.", error)

    def _is_beginning(self, key: str, path: Path) -> bool:
        with self.open(key) as stored, path.open("rb") as file:
            return all(block == file.read(len(block)) for block in blocks(stored))

    def _require_free(self, key: str) -> None:
        with self._refused_as(f"look at {key}"):
            if self._files.exists(key):
                raise NameTaken.of(key, self.location)

    def _is_folder(self, key: str) -> bool:
        folder = self.folder
        return folder is not None and (folder / key).is_dir()

    def _object(self, key: str) -> StoredObject:
        modified: datetime = self._files.get_modified_time(key)
        aware = timezone.make_aware(modified) if timezone.is_naive(modified) else modified
        return StoredObject(key, self._files.size(key), aware.astimezone(UTC))

    @contextmanager
    def _refused_as(self, doing: str) -> Iterator[None]:
        """Raise what the storage raises in the block, and each has errors of its own, as one of ours."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001
            is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = NotEnoughSpace if is_full else StorageError
            words = _words(error, self._hidden)
            raise kind(
                f"Could not {doing}, in {self.location}: {words}. Check its OPTIONS in settings.STORAGES."
            ) from None


class _Spool:
    """The private file on this machine's disk."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, block: bytes) -> int:
        try:
            return self._file.write(block)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NotEnoughSpace(
                    "No space is left for temporary files, where a backup for a storage of Django's is written first: "
                    "set TMPDIR to a folder with room for an archive."
                ) from None
            raise StorageError.from_os("write", "a temporary file", error) from error


class _Source:
    def __init__(self, storage: DjangoStorage, file: Any, key: str) -> None:
        self._storage, self._file, self._key = storage, file, key

    def read(self, size: int = -1) -> bytes:
        with self._storage._refused_as(f"read {self._key}"):
            content: bytes = self._file.read() if size < 0 else self._file.read(size)
            return content


def _words(error: Exception, hidden: Iterable[str]) -> str:
    text = " ".join(redact(str(error), hidden).split())
    return f"{type(error).__name__}: {text[:_MOST].rstrip(' .:')}" if text else type(error).__name__
