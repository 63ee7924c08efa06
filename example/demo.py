"""The main job, shown: a bookshop filled, backed up, proved, destroyed, brought back, and drilled.

Works in a temporary copy of the example project; prints each command before it runs, and ends with an
error when a single row is missing.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent
BOOKS = os.environ.get("BOOKS", "20000")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bookshop-") as folder:
        project = Path(folder, "example")
        shutil.copytree(HERE, project, ignore=shutil.ignore_patterns("*.sqlite3*", "backups", "__pycache__"))
        show(project)


def show(project: Path) -> None:
    database, rehearsal = project / "bookshop.sqlite3", project / "rehearsal.sqlite3"

    title("A bookshop with sample data")
    manage(project, "migrate", "--verbosity=0")
    manage(project, "fill_bookshop", f"--books={BOOKS}")
    before = count_rows(database)
    print(f"{len(before)} tables, {sum(before.values()):,} rows")

    title("Back it up")
    manage(project, "backup_create", "--note=before the worst day of the year")
    manage(project, "backup_list")

    title("Prove it: read every byte, then restore into another database and count its rows")
    manage(project, "backup_verify")
    manage(project, "backup_restore", "--yes", DATABASE_URL="sqlite:///rehearsal.sqlite3")
    compare(before, count_rows(rehearsal))

    title("The worst day of the year: half the database overwritten")
    destroy(database)
    manage(project, "backup_create", may_fail=True)

    title("Bring it back")
    manage(project, "backup_restore", "--yes")
    compare(before, count_rows(database))
    manage(project, "check", "--database=default")
    print("\nThe bookshop is back, every row counted.")

    title("Before the next such day: a drill, which restores into a scratch database, compares, and removes it")
    manage(project, "backup_create", "--note=after it")
    manage(project, "backup_verify", "latest", "--drill")
    manage(project, "backup_status")
    compare(before, count_rows(database))
    print("\nTo look at it in the admin, with half a year of backups and a user to log in with: make demo-admin")


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def manage(project: Path, *arguments: str, may_fail: bool = False, **variables: str) -> None:
    """Run a command of the example project, and show it with what it prints."""
    prefix = "".join(f"{name}={value} " for name, value in variables.items())
    print(f"$ {prefix}manage.py {' '.join(arguments)}", flush=True)
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=project, env=os.environ | variables, check=False)
    if done.returncode != 0 and not may_fail:
        sys.exit(f"{arguments[0]} failed with exit code {done.returncode}")


def destroy(database: Path) -> None:
    with database.open("r+b") as file:
        file.write(b"\xde\xad" * (database.stat().st_size // 4))
    print(f"wrote garbage over the first half of {database.name}")


def count_rows(database: Path) -> dict[str, int]:
    """The rows of every table; what changes without a user, sessions and the history of the runs, left out."""
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' "
            "AND name <> 'django_session' AND name NOT LIKE 'django_cfg_backup_%'"
        ).fetchall()
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables}


def compare(before: dict[str, int], after: dict[str, int]) -> None:
    if before != after:
        sys.exit(f"the rows differ: {before} before, {after} after")
    print(f"compared: {len(after)} tables, {sum(after.values()):,} rows, all there")


if __name__ == "__main__":
    main()
