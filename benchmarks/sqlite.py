"""SQLite: ``backup_create`` against SQLite's own ``VACUUM INTO``, followed by nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Contender, folder_size, in_turns, report

SETTINGS = """
from pathlib import Path
from django_cfg import BackupConfig
BASE_DIR = Path(__file__).parent
SECRET_KEY = "bench"
INSTALLED_APPS = ["django_cfg.backup"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "bench.sqlite3"}}}}
BACKUP = BackupConfig(enabled=True, compression="{compression}")
"""
FILL = "import sys; from pathlib import Path; from benchmarks.sample import fill_sqlite; "
FILL += "fill_sqlite(Path(sys.argv[1]), float(sys.argv[2]))"
VACUUM = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', (sys.argv[2],))"
BASELINE = "VACUUM INTO"


def main(turns: int = 5, scale: float = 1.0) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        database = folder / "bench.sqlite3"
        print("Filling the sample database ...", file=sys.stderr)
        # In a process of its own: a child's peak memory begins at what its parent held when it was started.
        subprocess.run([sys.executable, "-c", FILL, str(database), str(scale)], check=True)
        contenders = [_vacuum(folder, database), *(_ours(folder, method) for method in ("none", "gzip"))]
        results = in_turns(contenders, turns)
        print(f"SQLite, {database.stat().st_size / 1e6:,.0f} MB, {turns} turns, medians")
        print(report(results, BASELINE))


def _vacuum(folder: Path, database: Path) -> Contender:
    copy = folder / "vacuum.sqlite3"
    command = [sys.executable, "-c", VACUUM, str(database), str(copy)]
    if program := shutil.which("sqlite3"):
        command = [program, str(database), f"VACUUM INTO '{copy}'"]
    return Contender(BASELINE, command, lambda: copy.unlink(missing_ok=True), lambda: copy.stat().st_size)


def _ours(folder: Path, compression: str) -> Contender:
    (folder / f"bench_{compression}.py").write_text(SETTINGS.format(compression=compression))
    backups = folder / "backups"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": f"bench_{compression}", "PYTHONPATH": str(folder)}
    return Contender(
        f"backup_create, {compression}",
        [sys.executable, "-m", "django", "backup_create", "--verbosity=0"],
        lambda: shutil.rmtree(backups, ignore_errors=True),
        lambda: folder_size(backups),
        env,
    )
