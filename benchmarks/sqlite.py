"""SQLite: backups, restores and drills against its own ``VACUUM INTO`` and ``.backup``, and against django-dbbackup."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Contender, Section, Table, in_turns
from benchmarks.project import DRILL, OTHERS_CREATE, OTHERS_RESTORE, Project, piped

_FILL = "import sys; from pathlib import Path; from benchmarks.sample import fill_sqlite; "
_FILL += "fill_sqlite(Path(sys.argv[1]), float(sys.argv[2]))"
_DUMP, _RESTORE = "VACUUM INTO", "gunzip > file"


def sections(turns: int, size: float) -> Iterator[Section]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        database = folder / "bench.sqlite3"
        print("Filling SQLite ...", file=sys.stderr)
        # In a process of its own: a child's peak memory begins at what its parent held when it was started.
        subprocess.run([sys.executable, "-c", _FILL, str(database), str(size)], check=True)
        facts = f"SQLite {sqlite3.sqlite_version}, {database.stat().st_size / 1e6:,.0f} MB"
        yield Table("SQLite, backup", facts, _DUMP, in_turns(list(_backups(folder, database)), turns))
        yield Table("SQLite, restore", facts, _RESTORE, in_turns(list(_restores(folder, database)), turns))


def _backups(folder: Path, database: Path) -> Iterator[Contender]:
    copy, out = folder / "copy.sqlite3", folder / "copy.sqlite3.gz"
    vacuum = f"rm -f {copy}; sqlite3 {database} \"VACUUM INTO '{copy}'\""
    yield piped(_DUMP, vacuum, copy)
    yield piped(".backup", f"sqlite3 {database} '.backup {copy}'", copy)
    yield piped("VACUUM INTO, gzip -6", f"{vacuum}; gzip -6 < {copy} > {out}; rm {copy}", out)
    yield piped("VACUUM INTO, zstd -3", f"{vacuum}; zstd -q -3 < {copy} > {out}; rm {copy}", out)
    for method in ("gzip", "zstd", "none"):
        yield _project(folder, database, f"backup {method}", compression=method).backing_up(f"ours, {method}")
    yield _project(folder, database, "others backup").backing_up("django-dbbackup -z", OTHERS_CREATE)


def _restores(folder: Path, database: Path) -> Iterator[Contender]:
    packed, new = folder / "packed.sqlite3.gz", folder / "new.sqlite3"
    subprocess.run(["sh", "-c", f"gzip -6 < {database} > {packed}"], check=True)

    def settle() -> None:
        for kept in database.parent.glob(f"{database.name}.before-restore-*"):
            kept.unlink()

    yield piped(_RESTORE, f"gunzip -c {packed} > {new}", new)
    for method in ("gzip", "zstd", "none"):
        project = _project(folder, database, f"restore {method}", compression=method)
        yield project.restoring(f"ours, {method}", prepare=settle)
    yield _project(folder, database, "drill").restoring("ours, a drill, gzip", DRILL)
    others = _project(folder, database, "others restore")
    yield others.restoring("django-dbbackup, dbrestore -z", OTHERS_RESTORE)


def _project(folder: Path, database: Path, name: str, **backup: Any) -> Project:
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(database)}
    return Project.make(folder, name, settings, **backup)
