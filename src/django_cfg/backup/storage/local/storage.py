"""A folder of this machine: private (0700), its files too (0600), each published completely or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.pipeline.stream import Readable, Writable
from django_cfg.backup.storage.base import Storage, StoredObject, require_inside
from django_cfg.backup.storage.local.partial_file import PartialFile

_OF_THE_MOUNT = "lost+found"  # of an ext4 mount; only root may read it
_PART = re.compile(r"\..+\.[0-9a-f]{32}\.part", re.DOTALL)
_NO_FOLDER_SYNC = {errno.EINVAL, errno.EOPNOTSUPP}  # some network and FUSE mounts
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LocalStorage(Storage):
    """Objects are files below *root*. What is being written is ``.<name>.<uuid>.part`` in the same folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def location(self) -> str:
        return str(self.root)

    @property
    def folder(self) -> Path:
        return self.root

    @contextmanager
    def publish(self, key: str, *, expected_size: int = 0) -> Iterator[Writable]:
        target = self._path(key)
        _make_private_folder(target.parent)
        self._require_free(target, key)
        part = PartialFile(target, expected_size)
        try:
            yield part
            part.finish()
            with part.withdrawn_on_error(target):
                self._link(part.path, target, key)
                _sync_folder(target.parent)
        finally:
            part.discard()

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        path = self._path(key)
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise StorageError(f"{key} is missing in {self.location}.") from None
        except OSError as error:
            raise StorageError.from_os("read", path, error) from error
        with file:
            yield _File(file, path)

    def stat(self, key: str) -> StoredObject | None:
        require_inside(key, self.location)
        path = os.path.join(self.root, key)  # noqa: PTH118  ten thousand of them take half the time of a Path
        try:
            found = os.stat(path)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None  # a link to itself
            raise StorageError.from_os("look at", path, error) from error
        if not stat.S_ISREG(found.st_mode):
            return None
        etag = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ctime_ns:x}"
        return StoredObject(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC), etag)

    def list(self) -> Iterator[StoredObject]:
        return (found for name, key in self._files() if not name.startswith(".") and (found := self.stat(key)))

    def abandoned(self, before: datetime) -> Iterator[StoredObject]:
        parts = (key for name, key in self._files() if _PART.fullmatch(name))
        return (found for key in parts if (found := self.stat(key)) and found.modified < before)

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            _sync_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise StorageError.from_os("delete", path, error) from error

    def free_space(self) -> int | None:
        folder = next(path for path in (self.root, *self.root.parents) if path.exists())
        try:
            return shutil.disk_usage(folder).free
        except OSError as error:
            raise StorageError.from_os("look at", folder, error) from error

    def is_taken(self, name: str) -> bool:
        path = self._path(name)
        beginnings = (f"{path.name}.", f".{path.name}.")
        try:
            return self._exists() and any(entry.name.startswith(beginnings) for entry in path.parent.iterdir())
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError.from_os("list", path.parent, error) from error

    def _path(self, key: str) -> Path:
        require_inside(key, self.location)
        return self.root / key

    def _exists(self) -> bool:
        try:
            mode = self.root.stat().st_mode
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError.from_os("look at", self.root, error) from error
        if not stat.S_ISDIR(mode):
            raise StorageError(f"{self.root} is a file; local_path has to name a folder.")
        return True

    def _require_free(self, target: Path, key: str) -> None:
        try:
            if not target.exists():
                return
        except OSError as error:
            raise StorageError.from_os("look at", target, error) from error
        raise NameTaken.of(key, self.location)

    def _files(self) -> Iterator[tuple[str, str]]:
        """Name and key of each file, hidden ones too; nothing of hidden folders."""
        if not self._exists():
            return
        for folder, folders, files in os.walk(self.root, onerror=self._cannot_list):
            folders[:] = [name for name in folders if not name.startswith(".") and name != _OF_THE_MOUNT]
            below = Path(folder).relative_to(self.root).as_posix()
            for name in files:
                yield name, name if below == "." else f"{below}/{name}"

    def _cannot_list(self, error: OSError) -> None:
        raise StorageError.from_os("list", error.filename or self.root, error) from error

    def _link(self, part: Path, target: Path, key: str) -> None:
        """Give the part its final name without ever replacing a file."""
        try:
            try:
                os.link(part, target)
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                _rename_exclusively(part, target)
        except FileExistsError:
            raise NameTaken.of(key, self.location) from None
        except OSError as error:
            raise StorageError.from_os("publish", target, error) from error


class _File:
    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise StorageError.from_os("read", self._path, error) from error


def _rename_exclusively(part: Path, target: Path) -> None:
    """Reserve the name with an empty file, then replace that: for where there are no hard links."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        part.rename(target)
    except BaseException:
        target.unlink()
        raise


def _make_private_folder(folder: Path) -> None:
    """Create *folder* and what is missing above it, readable by its owner only."""
    try:
        for missing in reversed([f for f in (folder, *folder.parents) if not f.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError.from_os("create the folder", folder, error) from error
    if not folder.is_dir():
        raise StorageError(f"{folder} is a file, and a folder is needed there: name another place.")


def _sync_folder(folder: Path) -> None:
    """Make a new or removed name survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise StorageError.from_os("make sure of what was written in", folder, error) from error
    finally:
        os.close(descriptor)
