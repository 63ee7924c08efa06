"""What is usable in a storage's settings and yet unwise: a folder that others may write, a bucket without TLS."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.storage.local import LocalStorage


def refuse_served_folder(project: Project) -> None:
    """
    :raises ConfigurationError: the local storage lies inside MEDIA_ROOT, STATIC_ROOT or a static folder.
    """
    storage = project.storage
    if not isinstance(storage, LocalStorage):
        return
    root = storage.root.resolve()
    for name, folder in _served_folders():
        if root.is_relative_to(folder):
            raise ConfigurationError(
                f"BackupStorageConfig.local_path ({root}) lies inside {name} ({folder}), which web servers show to the "
                "world: move it out of there."
            )


def _served_folders() -> Iterator[tuple[str, Path]]:
    for name in ("MEDIA_ROOT", "STATIC_ROOT"):
        if folder := getattr(settings, name, None):
            yield name, Path(folder).resolve()
    for entry in getattr(settings, "STATICFILES_DIRS", ()):
        folder = entry[1] if isinstance(entry, list | tuple) else entry
        yield "STATICFILES_DIRS", Path(folder).resolve()


@dataclass(frozen=True)
class StorageAdvice:
    """A setting to fix: what is wrong, what to do, and the number of the system check."""

    text: str
    hint: str
    number: str


def storage_advice(project: Project) -> Iterator[StorageAdvice]:
    """Yield what is unwise, without opening a connection."""
    if isinstance(project.storage, LocalStorage):
        yield from _folder_advice(project.storage.root)
        return
    if project.storage.sends_in_the_clear:
        yield StorageAdvice(
            f"Backups go to {project.storage.location} over plain HTTP: anyone on the line can read them.",
            "Write https:// in BackupStorageConfig.s3_endpoint_url.",
            "W020",
        )
    if project.config.project is None and not getattr(settings, "PROJECT_NAME", ""):
        yield StorageAdvice(
            f"Backups in {project.storage.location} are distinguished by the project's name, which is only guessed: "
            f"{project.name!r}. Two projects of one name in one bucket are one source.",
            "Set BackupConfig.project.",
            "W021",
        )


def _folder_advice(root: Path) -> Iterator[StorageAdvice]:
    """Another user who can write there can exchange backups, and with them what a restore runs."""
    try:
        found = root.stat()
    except OSError:
        return  # it is made at the first backup; what else is wrong with it is seen when it is used
    if found.st_mode & stat.S_IWOTH:
        yield StorageAdvice(
            f"Every user of this machine may write into {root}, where backups are kept, and replace them.",
            f"chmod o-w {root}",
            "W022",
        )
    if found.st_uid not in (os.geteuid(), 0):
        yield StorageAdvice(
            f"{root}, where backups are kept, belongs to the user {_user_name(found.st_uid)}, who may replace them; "
            f"this process is {_user_name(os.geteuid())}.",
            "Let the user own it who makes the backups (chown), or run this as that user.",
            "W023",
        )


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
