"""PostgreSQL: ``backup_restore`` over a full database, against plain ``pg_restore`` of the uncompressed file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.postgresql_server import PostgreSQL, postgresql_programs

from benchmarks.measure import Contender, in_turns, report
from benchmarks.postgresql import fill, settings
from benchmarks.project import CREATE, make_project

BASELINE = "createdb && pg_restore"
PLAIN = "new"  # the database that the baseline makes


def main(turns: int = 5, scale: float = 1.0) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = PostgreSQL(postgresql_programs()[0], folder / "server")
        try:
            fill(server, scale)
            size = server.sql("SELECT pg_database_size('bench')")[0][0]
            results = in_turns(list(_contenders(folder, server)), turns)
            print(f"PostgreSQL, restore of {size / 1e6:,.0f} MB on its disk, {turns} turns, medians")  # type: ignore[operator]
            print(report(results, BASELINE))
        finally:
            server.stop("immediate")


def _contenders(folder: Path, server: PostgreSQL) -> Iterator[Contender]:
    plain = folder / "plain.pgdump"
    env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": server.USER,
           "PGPASSWORD": server.PASSWORD}  # fmt: skip
    tool = {name: server.programs / name for name in ("pg_dump", "createdb", "pg_restore")}
    dump = [tool["pg_dump"], "--format=custom", "--compress=0", f"--file={plain}", "bench"]
    subprocess.run(dump, env=env, check=True)
    restore = f"{tool['createdb']} --template=template0 {PLAIN} && {tool['pg_restore']} --dbname={PLAIN} {plain}"
    yield Contender(BASELINE, ["sh", "-c", restore], lambda: _settle(server), lambda: 0, env)
    for compression in ("none", "gzip"):
        yield _ours(folder, server, compression, "next to it")
    yield _ours(folder, server, "gzip", "in place", "--in-place", "--discard-old")


def _ours(folder: Path, server: PostgreSQL, compression: str, form: str, *options: str) -> Contender:
    _, env = make_project(folder, f"{compression} {form}", settings(server, compression))
    django = [sys.executable, "-m", "django"]
    subprocess.run(CREATE, env=env, check=True)
    command = [*django, "backup_restore", "--yes", "--verbosity=0", *options]
    return Contender(f"backup_restore, {compression}, {form}", command, lambda: _settle(server), lambda: 0, env)


def _settle(server: PostgreSQL) -> None:
    """Nothing is left of the turn before: no database of it, and no page that still has to be written."""
    found = server.sql("SELECT datname FROM pg_database WHERE datname LIKE 'bench\\_\\_%'")
    server.sql(*(f"DROP DATABASE IF EXISTS {name}" for name in (PLAIN, *(name for (name,) in found))), "CHECKPOINT")
