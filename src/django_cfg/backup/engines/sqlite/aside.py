"""Setting old data aside: saved under a name that is told, never destroyed."""

from __future__ import annotations

import glob
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from datetime import datetime
from pathlib import Path

from django_cfg.backup.engines.base import SetAside
from django_cfg.backup.engines.sqlite.files import COMPANIONS, uri
from django_cfg.backup.errors import RestoreFailed

_STAMP = "%Y%m%d_%H%M%S"  # of this machine's clock


def free_name(target: Path) -> Path:
    """Where the old data of *target* will be found after a restore."""
    stamp = datetime.now().astimezone().strftime(_STAMP)
    wanted = target.with_name(f"{target.name}.before-restore-{stamp}")
    number = 1
    name = wanted
    while name.exists():
        number += 1
        name = wanted.with_name(f"{wanted.name}-{number}")
    return name


def found(target: Path) -> list[SetAside]:
    """The old data of *target* that restores have kept, newest first."""
    kept = [
        SetAside(str(path), _size(path), made_at)
        for path in target.parent.glob(f"{glob.escape(target.name)}.before-restore-*")
        if (made_at := _made_at(path, target))
    ]
    return sorted(kept, key=lambda aside: aside.made_at, reverse=True)


def discard(old_data: Path) -> None:
    for path in (old_data, *(Path(f"{old_data}{suffix}") for suffix in COMPANIONS)):
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    files = [path, *(Path(f"{path}{suffix}") for suffix in COMPANIONS)]
    return sum(file.stat().st_size for file in files if file.exists())


def _made_at(path: Path, target: Path) -> datetime | None:
    """When a restore made it; None for what is not its work, and for the journals that go with it."""
    name = re.fullmatch(rf"{re.escape(target.name)}\.before-restore-(\d{{8}}_\d{{6}})(-\d+)?", path.name)
    try:
        return datetime.strptime(name[1], _STAMP).astimezone() if name else None
    except ValueError:  # somebody else's digits
        return None


def save(target: Path, old_data: Path, workshop: Path, *, through_sqlite: bool) -> None:
    """Copy the live database *target*, whose write lock we hold, to *old_data*.

    Under a write-ahead log the newest data is not in the file, but others may read: SQLite copies.
    With a rollback journal nobody may read now, and the file is the data: it is copied by a program,
    since opening it here would drop this process's locks.
    """
    part = workshop / "scratch-old"
    part.unlink(missing_ok=True)
    if through_sqlite:
        with closing(sqlite3.connect(uri(target, mode="ro"), uri=True)) as live, closing(sqlite3.connect(part)) as copy:
            live.backup(copy)
    else:
        _copy_by_program(target, part)
    _take_owner_and_mode(part, like=target)
    _sync(part)
    part.rename(old_data)
    _sync(old_data.parent)


def replace(target: Path, scratch: Path, old_data: Path) -> None:
    """Put *scratch* in the place of a file that SQLite cannot read, or of none.

    Journals of the old file go first: beside the new one, SQLite would apply them to it.
    """
    for suffix in COMPANIONS:
        companion = Path(f"{target}{suffix}")
        if companion.exists():
            companion.rename(f"{old_data}{suffix}")
    if target.exists():
        os.link(target, old_data)
        _take_owner_and_mode(scratch, like=target)
    else:
        _take_owner_and_mode(scratch, like=None)
    scratch.replace(target)
    _sync(target.parent)


def _copy_by_program(source: Path, target: Path) -> None:
    done = subprocess.run(["cp", "--", source, target], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RestoreFailed(
            f"The old data of {source} could not be set aside: {done.stderr.strip()}. The database is as it was."
        )


def _take_owner_and_mode(path: Path, *, like: Path | None) -> None:
    """What root restores has to stay readable for the site; a new file belongs to its folder's owner."""
    model = (like or path.parent.parent).stat()
    if os.geteuid() == 0:
        os.chown(path, model.st_uid, model.st_gid)
    path.chmod(model.st_mode & 0o777 if like else 0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
