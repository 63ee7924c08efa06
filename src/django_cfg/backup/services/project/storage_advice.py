"""What is usable in a storage's settings and yet unwise: a folder that others may write, a bucket without TLS."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.project import Project

_MOST_NAMES = 3
_OF_UPLOADS = ("default", "staticfiles")


def refuse_served_folder(project: Project) -> None:
    """
    :raises ConfigurationError: backups are kept inside MEDIA_ROOT, STATIC_ROOT or a static folder.
    """
    for place in project.places:
        if place.storage.folder is None:
            continue
        root = place.storage.folder.resolve()
        parameter = "local_path" if place.config.backend == "local" else "django_alias"
        for name, folder in _served_folders():
            if root.is_relative_to(folder):
                raise ConfigurationError(
                    f"BackupStorageConfig.{parameter} ({root}) lies inside {name} ({folder}), which web servers show "
                    "to the world: move it out of there."
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
    for place in project.places:
        yield from place_advice(project, place)


def place_advice(project: Project, place: Place) -> Iterator[StorageAdvice]:
    """Like :func:`storage_advice`, of one place."""
    config, storage = place.config, place.storage
    if storage.folder:
        yield from _folder_advice(storage.folder)
    if config.backend == "local":
        return
    if storage.sends_in_the_clear:
        yield StorageAdvice(
            f"Backups go to {storage.location} over plain HTTP: anyone on the line can read them.",
            f"Write https:// in BackupStorageConfig.{config.backend}_endpoint_url.",
            "W020",
        )
    if config.backend == "django" and config.django_alias in _OF_UPLOADS:
        yield StorageAdvice(
            f"Backups go to {storage.location}, which Django also uses for files that it shows to the world.",
            "Give backups an alias of their own in settings.STORAGES, with a place that is not public.",
            "W025",
        )
    if project.config.project is None and not getattr(settings, "PROJECT_NAME", ""):
        yield StorageAdvice(
            f"Backups in {storage.location} are distinguished by the project's name, which is only guessed: "
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
    elif others := _others_in_group(found) if found.st_mode & stat.S_IWGRP else []:
        yield StorageAdvice(
            f"The members of the group {_group_name(found.st_gid)} may write into {root}, where backups are kept, and "
            f"replace them: {', '.join(others[:_MOST_NAMES])}{' and others' if len(others) > _MOST_NAMES else ''}.",
            f"chmod g-w {root}, or give it a group of its own (chgrp).",
            "W024",
        )
    if found.st_uid not in (os.geteuid(), 0):
        yield StorageAdvice(
            f"{root}, where backups are kept, belongs to the user {_user_name(found.st_uid)}, who may replace them; "
            f"this process is {_user_name(os.geteuid())}.",
            "Let the user own it who makes the backups (chown), or run this as that user.",
            "W023",
        )


def _others_in_group(found: os.stat_result) -> list[str]:
    """Return the accounts that are in the folder's group, without its owner, this process's user and root.

    Of accounts in a directory service only the members are seen that it lists.
    """
    own = {found.st_uid, os.geteuid(), 0}
    with suppress(KeyError):  # a number without a name: no account is known to be in it
        members = set(grp.getgrgid(found.st_gid).gr_mem)
        accounts = pwd.getpwall()
        primary = {account.pw_name for account in accounts if account.pw_gid == found.st_gid}
        own_names = {account.pw_name for account in accounts if account.pw_uid in own}
        own_names |= {_user_name(number) for number in own}
        return sorted((members | primary) - own_names)
    return []


def _group_name(number: int) -> str:
    return grp.getgrgid(number).gr_name


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
