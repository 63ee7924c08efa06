"""A path in any remote of rclone: SFTP, WebDAV, and some seventy services."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, NameTaken, StorageError, ToolFailed
from django_cfg.backup.pipeline.stream import Readable, Writable
from django_cfg.backup.process.private_dir import create_private, private_dir
from django_cfg.backup.storage.base import Storage, StoredObject, require_inside
from django_cfg.backup.storage.rclone.program import MISSING, SHORT, Rclone, find_program
from django_cfg.backup.storage.rclone.transfer import Download, Upload

_log = logging.getLogger("django_cfg.backup")
_PART = re.compile(r"\..+\.[0-9a-f]{32}\.part(\..*)?", re.DOTALL)  # the end is of rclone's own unfinished copies
_LIST = ("lsjson", "--files-only", "--no-mimetype")
_AT_ONCE = 16  # small objects read concurrently


class RcloneStorage(Storage):
    """Objects below the path of a remote. What is being written is ``.<name>.<random>.part`` in the same folder.

    Every call starts rclone. A name is looked at before an upload and again before the upload is renamed, and rclone
    replaces nothing that it sees; between its look and the renaming another machine may come. So the key of each
    archive has a part that no other has (:meth:`new_infix`).
    """

    def __init__(self, rclone: Rclone) -> None:
        self._rclone = rclone

    @classmethod
    def of(cls, config: BackupStorageConfig) -> RcloneStorage:
        """
        :raises ConfigurationError: rclone is not installed, or a parameter cannot be used.
        """
        path = Path(config.rclone_config).expanduser() if config.rclone_config else None
        if path and not path.is_file():
            raise ConfigurationError(
                f"BackupStorageConfig.rclone_config names {path}, and there is no such file for this user: give the "
                "path of rclone.conf (`rclone config file` prints it), or leave it out."
            )
        remote = config.rclone_remote or ""
        if ".." in remote.partition(":")[2].split("/"):
            raise ConfigurationError(
                "BackupStorageConfig.rclone_remote may not hold .. in its path: write where it is."
            )
        return cls(Rclone(find_program(), remote, path))

    @property
    def location(self) -> str:
        return self._rclone.remote

    @property
    def identity(self) -> tuple[str, str]:
        remote, _, path = self._rclone.remote.partition(":")
        return f"rclone {remote}", f"{path.strip('/')}/" if path.strip("/") else ""

    @contextmanager
    def publish(self, key: str, *, expected_size: int = 0) -> Iterator[Writable]:
        require_inside(key, self.location)
        self._require_free(key, self._files_near(key))
        folder, _, name = key.rpartition("/")
        part = f"{folder}{'/' if folder else ''}.{name}.{secrets.token_hex(16)}.part"
        try:
            with self._rclone.start("rcat", self._rclone.path(part), feed=True) as child:
                upload = Upload(self._rclone, key, child)
                yield upload
                upload.finish()
            self._rename(part, key, upload.size)
        except BaseException:
            self._discard(part)
            raise

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        found = self.stat(key)  # of a folder rclone would read all files
        if found is None:
            raise StorageError(f"{key} is missing in {self.location}.")
        with self._rclone.start("cat", self._rclone.path(key)) as child:
            yield Download(self._rclone, key, found.size, child)

    def new_infix(self) -> str:
        """Return eight random digits: of two uploads to one key, the second to end could replace the first."""
        return f".{secrets.token_hex(4)}"

    def stat(self, key: str) -> StoredObject | None:
        require_inside(key, self.location)
        printed = self._rclone.run(f"look at {key}", "lsjson", "--stat", "--no-mimetype", self._rclone.path(key))
        found = json.loads(printed) if printed and printed.strip() not in (b"", b"null") else None
        return _object(found, key) if found and not found["IsDir"] else None

    def list(self) -> Iterator[StoredObject]:
        return (found for found in self._all() if not any(part.startswith(".") for part in found.key.split("/")))

    def abandoned(self, before: datetime) -> Iterator[StoredObject]:
        parts = (found for found in self._all() if _PART.fullmatch(found.key.rpartition("/")[2]))
        return (found for found in parts if found.modified < before)

    def delete(self, key: str) -> None:
        require_inside(key, self.location)
        try:
            self._rclone.run(f"delete {key}", "deletefile", self._rclone.path(key))
        except StorageError:
            if self.stat(key) is not None:  # else it is gone, for which older versions have no exit code of its own
                raise

    def free_space(self) -> int | None:
        """Not every remote knows it."""
        try:
            answer = json.loads(self._rclone.run("ask for the free space", "about", "--json", self.location) or b"{}")
        except (StorageError, ValueError):
            return None
        free = answer.get("free")
        return free if isinstance(free, int) else None

    def is_taken(self, name: str) -> bool:
        require_inside(name, self.location)
        last = name.rpartition("/")[2]
        return any(found.startswith((f"{last}.", f".{last}.")) for found in self._files_near(name))

    def read_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | StorageError]]:
        """In the order of *keys*; rclone fetches all of them at once into a private folder."""
        wanted = list(keys)
        for key in wanted:
            require_inside(key, self.location)
        with private_dir() as folder:
            failure = self._fetch([key for key in wanted if "\n" not in key], folder)
            for key in wanted:
                yield key, _content(folder / "objects" / key) or failure or self._read_or_error(key)

    def _fetch(self, keys: Sequence[str], folder: Path) -> StorageError | None:
        """Copy the objects to *folder*; return the error if none of them came."""
        with create_private(folder / "keys") as file:
            file.write("".join(f"{key}\n" for key in keys).encode())
        target = folder / "objects"
        chosen = (f"--files-from-raw={folder / 'keys'}", "--no-traverse", f"--transfers={_AT_ONCE}")
        try:
            self._rclone.run("read the objects", "copy", *chosen, self.location, str(target), limit=None)
        except StorageError as error:
            return None if any(path.is_file() for path in target.rglob("*")) else error
        return None

    def _read_or_error(self, key: str) -> bytes | StorageError:
        try:
            return self.read(key)
        except StorageError as error:
            return error

    def _rename(self, part: str, key: str, size: int) -> None:
        """Give the complete upload its name; an object that has the name already stays.

        :raises NameTaken: there is an object *key* by now.
        :raises StorageError: the remote has not what it was given, or cannot rename it.
        """
        near = self._files_near(key)
        self._require_free(key, near)
        if (found := near.get(_name(part))) != size:
            what = "it is not there" if found is None else f"it has {found:,} bytes instead of {size:,}"
            raise StorageError(
                f"{key} was sent to {self.location} without an error, but {what}. Nothing was published."
            )
        move = ("moveto", "--ignore-existing", self._rclone.path(part), self._rclone.path(key))
        try:
            self._rclone.run(f"rename {key}", *move, limit=None, missing_is_none=False)
            near = self._files_near(key)
        except BaseException:
            self._withdraw(part, key)
            raise
        if _name(part) in near:
            raise NameTaken.of(key, self.location)
        if near.get(_name(key)) != size:
            raise StorageError(f"{key} was renamed in {self.location} without an error, and is not there. Try again.")

    def _withdraw(self, part: str, key: str) -> None:
        """Delete *key* if the interrupted renaming was done: then *part* is gone."""
        try:
            if self.stat(part) is None:
                self.delete(key)
        except StorageError as error:
            _log.warning("%s It may have been published, although its backup failed.", error)

    def _discard(self, part: str) -> None:
        """A failure is logged: it happens on the way of another error. A later prune removes the rest."""
        try:
            self.delete(part)
        except StorageError as error:
            _log.warning("%s A later prune deletes it.", error)

    def _require_free(self, key: str, near: dict[str, int]) -> None:
        if _name(key) in near:
            raise NameTaken.of(key, self.location)

    def _files_near(self, key: str) -> dict[str, int]:
        """The sizes of the files in the folder of *key*, by their names."""
        folder = self._rclone.path(key.rpartition("/")[0])
        printed = self._rclone.run("list the objects", *_LIST, folder)
        return {found["Name"]: found["Size"] for found in json.loads(printed or b"[]")}

    def _all(self) -> Iterator[StoredObject]:
        """All files, hidden ones too, as rclone finds them. A list that ends early is an error."""
        count = 0
        with (
            self._rclone.refused_as("list the objects"),
            self._rclone.start(*_LIST, "--recursive", self.location) as child,
        ):
            for found in _items(child.stdout):
                count += 1
                yield _object(found, found["Path"])
            try:
                child.wait()
            except ToolFailed as error:
                if count or error.tool_exit_code not in MISSING or self._exists():
                    raise

    def _exists(self) -> bool:
        """Whether there is a folder at the path of the remote; nothing has made it before the first backup."""
        look = ("lsjson", "--stat", "--no-mimetype", self.location)
        return bool((self._rclone.run("look at the remote", *look, limit=SHORT) or b"").strip())


def _items(lines: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, of which rclone prints one a line. A line that was cut is the last: it has failed."""
    for line in lines:
        text = line.strip().rstrip(b",")
        if text.startswith(b"{") and text.endswith(b"}") and line.endswith(b"\n"):
            yield json.loads(text)


def _object(found: dict[str, Any], key: str) -> StoredObject:
    return StoredObject(key, found["Size"], datetime.fromisoformat(found["ModTime"]).astimezone(UTC))


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _name(key: str) -> str:
    return key.rpartition("/")[2]
