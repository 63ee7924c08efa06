"""MariaDB: backups, restores and drills against mariadb-dump and its client alone and with a compressor, and against
django-dbbackup."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.mariadb_server import MariaDB, mariadb_program

from benchmarks.measure import Contender, Section, Table, in_turns
from benchmarks.project import DRILL, OTHERS_CREATE, OTHERS_RESTORE, Project, piped
from benchmarks.sample import FOREIGN_KEYS, INDEXES, TABLES, blocks, tables

_TYPES = {"uuid": "char(32)", "text": "longtext", "real": "double precision", "moment": "datetime(6)"}
_SIZE = "SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = 'bench'"
_FLAGS = "--single-transaction --quick --routines --events --hex-blob --no-tablespaces --default-character-set=utf8mb4"
_DUMP, _RESTORE = "mariadb-dump >/dev/null", "gunzip | mariadb"
_PLAIN = "new"  # the database that the stock client fills


def sections(turns: int, size: float, slow: bool) -> Iterator[Section]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = MariaDB(folder / "server")
        try:
            server.stop()
            server.start("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=256M")
            _fill(server, size)
            stored = int(str(server.sql(_SIZE)[0][0])) / 1e6
            facts = f"MariaDB {server.sql('SELECT VERSION()')[0][0]}, {stored:,.0f} MB in its tables"
            yield Table("MariaDB, backup", facts, _DUMP, in_turns(list(_backups(folder, server, slow)), turns))
            yield Table("MariaDB, restore", facts, _RESTORE, in_turns(list(_restores(folder, server)), turns))
        finally:
            server.stop(kill=True)


def _fill(server: MariaDB, size: float) -> None:
    print("Filling MariaDB ...", file=sys.stderr)
    server.sql("CREATE DATABASE bench CHARACTER SET utf8mb4")
    server.sql(*(f"CREATE TABLE bench.{table} ({columns.format(**_TYPES)})" for table, columns in TABLES.items()))
    with closing(server.connect("bench")) as connection, connection.cursor() as cursor:
        for table, rows in tables(size):
            for block in blocks(rows, 5000):
                cursor.executemany(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(block[0]))})", block)
    server.sql(*(f"CREATE INDEX {name} ON bench.{on}" for name, on in INDEXES.items()))
    for table, keys in FOREIGN_KEYS.items():
        for column, other in keys.items():
            server.sql(f"ALTER TABLE bench.{table} ADD FOREIGN KEY ({column}) REFERENCES bench.{other} (id)")
    server.sql(f"ANALYZE TABLE {', '.join(f'bench.{table}' for table in TABLES)}")


def _command(server: MariaDB, program: str) -> tuple[str, dict[str, str]]:
    """The program with the address of the server, and its environment."""
    command = f"{mariadb_program(program)} --no-defaults --host=127.0.0.1 --port={server.port} --user={server.USER}"
    return command, {**os.environ, "MYSQL_PWD": server.PASSWORD}


def _backups(folder: Path, server: MariaDB, slow: bool) -> Iterator[Contender]:
    program, env = _command(server, "mariadb-dump")
    dump, out = f"{program} {_FLAGS} bench", folder / "dump"
    yield piped(_DUMP, f"{dump} >/dev/null", None, env)
    yield piped("mariadb-dump | gzip -6", f"{dump} | gzip -6 > {out}", out, env)
    yield piped("mariadb-dump | zstd -3", f"{dump} | zstd -q -3 > {out}", out, env)
    for method in ("gzip", "zstd", "none", *(["xz"] if slow else [])):
        yield _project(folder, server, f"backup {method}", compression=method).backing_up(f"ours, {method}")
    yield _project(folder, server, "others backup").backing_up("django-dbbackup -z", OTHERS_CREATE)


def _restores(folder: Path, server: MariaDB) -> Iterator[Contender]:
    packed = folder / "packed.sql.gz"
    program, env = _command(server, "mariadb-dump")
    subprocess.run(["sh", "-c", f"{program} {_FLAGS} bench | gzip -6 > {packed}"], env=env, check=True)
    client, env = _command(server, "mariadb")

    def settle() -> None:
        """Nothing is left of the turn before."""
        kept = server.sql("SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'bench\\_\\_%'")
        dropped = (f"DROP DATABASE IF EXISTS {name}" for name in (_PLAIN, *(name for (name,) in kept)))
        server.sql(*dropped, f"CREATE DATABASE {_PLAIN} CHARACTER SET utf8mb4")

    yield Contender(_RESTORE, ["sh", "-c", f"gunzip -c {packed} | {client} {_PLAIN}"], settle, lambda: 0, env)
    for method in ("gzip", "zstd", "none"):
        project = _project(folder, server, f"restore {method}", compression=method)
        yield project.restoring(f"ours, {method}", prepare=settle)
    yield _project(folder, server, "drill").restoring("ours, a drill, gzip", DRILL, settle)
    others = _project(folder, server, "others restore")
    yield others.restoring("django-dbbackup, dbrestore -z", OTHERS_RESTORE, settle)


def _project(folder: Path, server: MariaDB, name: str, **backup: Any) -> Project:
    return Project.make(folder, name, server.settings("bench"), **backup)
