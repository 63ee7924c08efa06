"""PostgreSQL: backups, restores and drills against pg_dump and pg_restore alone and with a compressor, and against
django-dbbackup."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.gnupg_home import Laptop
from tests.support.postgresql_server import PostgreSQL, postgresql_programs
from tests.support.s3_server import S3Server

from benchmarks.measure import Contender, Section, Table, in_turns
from benchmarks.project import DRILL, OTHERS_CREATE, OTHERS_RESTORE, Project, piped
from benchmarks.sample import FOREIGN_KEYS, INDEXES, TABLES

_TYPES = {"uuid": "uuid", "text": "text", "real": "double precision", "moment": "timestamptz"}
_FILL = """
import sys, psycopg
from benchmarks.sample import tables
with psycopg.connect(sys.argv[1]) as connection, connection.cursor() as cursor:
    for table, rows in tables(float(sys.argv[2])):
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
"""
_HASHED_ONCE = ("--ignore-checksum", "--etag-hash=")  # the default of this S3 server reads all of it twice
_DUMP, _RESTORE = "pg_dump -Fc -Z0 >/dev/null", "gunzip | pg_restore"
_PLAIN = "new"  # the database that the stock tools make


def sections(turns: int, size: float, slow: bool) -> Iterator[Section]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server, bucket = (
            PostgreSQL(postgresql_programs()[0], folder / "server"),
            S3Server(folder / "bucket", *_HASHED_ONCE),
        )
        try:
            fill(server, size)
            disk = int(str(server.sql("SELECT pg_database_size('bench')")[0][0])) / 1e6
            facts = f"PostgreSQL {server.sql('SHOW server_version')[0][0]}, {disk:,.0f} MB on its disk"
            made = in_turns(list(_backups(folder, server, bucket, slow)), turns)
            yield Table("PostgreSQL, backup", facts, _DUMP, made)
            restored = in_turns(list(_restores(folder, server)), turns)
            yield Table("PostgreSQL, restore", facts, _RESTORE, restored)
        finally:
            bucket.stop()
            server.stop("immediate")


def fill(server: PostgreSQL, size: float) -> None:
    print("Filling PostgreSQL ...", file=sys.stderr)
    server.sql("CREATE DATABASE bench")
    tables = (f"CREATE TABLE {table} ({columns.format(**_TYPES)})" for table, columns in TABLES.items())
    server.sql(*tables, database="bench")
    where = f"host=127.0.0.1 port={server.port} user={server.USER} password={server.PASSWORD} dbname=bench"
    subprocess.run([sys.executable, "-c", _FILL, where, str(size)], check=True)
    server.sql(*(f"CREATE INDEX {name} ON {on}" for name, on in INDEXES.items()), database="bench")
    for table, keys in FOREIGN_KEYS.items():
        for column, other in keys.items():
            server.sql(f"ALTER TABLE {table} ADD FOREIGN KEY ({column}) REFERENCES {other} (id)", database="bench")
    server.sql("VACUUM ANALYZE", database="bench")


def _env(server: PostgreSQL) -> dict[str, str]:
    return {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": server.USER,
            "PGPASSWORD": server.PASSWORD, "PATH": f"{server.programs}:{os.environ['PATH']}"}  # fmt: skip


def _backups(folder: Path, server: PostgreSQL, bucket: S3Server, slow: bool) -> Iterator[Contender]:
    dump, out, env = "pg_dump --format=custom --compress=0 bench", folder / "dump", _env(server)
    yield piped(_DUMP, f"{dump} >/dev/null", None, env)
    yield piped("pg_dump | gzip -6", f"{dump} | gzip -6 > {out}", out, env)
    yield piped("pg_dump | zstd -3", f"{dump} | zstd -q -3 > {out}", out, env)
    for method in ("gzip", "zstd", "none", *(["xz"] if slow else [])):
        yield _project(folder, server, f"backup {method}", compression=method).backing_up(f"ours, {method}")
    unchecked = _project(folder, server, "unchecked", compression="none")
    yield unchecked.backing_up("ours, none, format not checked", unchecked=True)
    for method in ("gzip", "none"):
        several = _project(folder, server, f"jobs {method}", compression=method, dump_jobs=2)
        yield several.backing_up(f"ours, {method}, dump_jobs=2")
    laptop = Laptop.make()
    public = laptop.public
    laptop.home.remove()
    yield _project(folder, server, "encrypted", encryption_key=public).backing_up("ours, gzip, to a public key")
    place = bucket.data / bucket.new_bucket("bench")
    s3 = _project(folder, server, "s3", place=place, storage=bucket.parameters("bench"))
    yield s3.backing_up("ours, gzip, to S3")
    yield _project(folder, server, "others backup").backing_up("django-dbbackup -z", OTHERS_CREATE)


def _restores(folder: Path, server: PostgreSQL) -> Iterator[Contender]:
    plain, packed, env = folder / "plain.pgdump", folder / "packed.pgdump.gz", _env(server)
    subprocess.run(["pg_dump", "--format=custom", "--compress=0", f"--file={plain}", "bench"], env=env, check=True)
    subprocess.run(["sh", "-c", f"gzip -6 < {plain} > {packed}"], check=True)

    def settle() -> None:
        """Nothing is left of the turn before: no database of it, and no page that still has to be written."""
        found = server.sql("SELECT datname FROM pg_database WHERE datname LIKE 'bench\\_\\_%'")
        server.sql(*(f"DROP DATABASE IF EXISTS {name}" for name in (_PLAIN, *(name for (name,) in found))))
        server.sql(f"CREATE DATABASE {_PLAIN} TEMPLATE template0", "CHECKPOINT")

    def stock(name: str, command: str) -> Contender:
        return Contender(name, ["sh", "-c", command], settle, lambda: 0, env)

    yield stock(_RESTORE, f"gunzip -c {packed} | pg_restore --dbname={_PLAIN}")
    yield stock("pg_restore of the raw file", f"pg_restore --dbname={_PLAIN} {plain}")
    yield stock("pg_restore -j 2 of the raw file", f"pg_restore -j 2 --dbname={_PLAIN} {plain}")
    for method in ("gzip", "zstd", "none"):
        project = _project(folder, server, f"restore {method}", compression=method)
        yield project.restoring(f"ours, {method}", prepare=settle)
    alone = _project(folder, server, "restore alone", restore_jobs=1)
    yield alone.restoring("ours, gzip, restore_jobs=1", prepare=settle)
    yield _project(folder, server, "drill").restoring("ours, a drill, gzip", DRILL, settle)
    others = _project(folder, server, "others restore")
    yield others.restoring("django-dbbackup, dbrestore -z", OTHERS_RESTORE, settle)


def _project(folder: Path, server: PostgreSQL, name: str, place: Path | None = None, **backup: Any) -> Project:
    return Project.make(folder, name, server.settings("bench"), programs=server.programs, place=place, **backup)
