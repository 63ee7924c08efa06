"""PostgreSQL: ``backup_create`` against pg_dump alone, pg_dump with gzip, and django-dbbackup."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from tests.support.gnupg_home import Laptop
from tests.support.postgresql_server import PostgreSQL, postgresql_programs

from benchmarks.measure import Contender, in_turns, report
from benchmarks.project import CREATE, DBBACKUP, WORKER, backing_up

SETTINGS = """
from pathlib import Path
from django_cfg import BackupConfig
BASE_DIR = Path(__file__).parent
SECRET_KEY = "bench"
USE_TZ = True
INSTALLED_APPS = ["django_cfg.backup", {apps}]
DATABASES = {{"default": {database!r}}}
BACKUP = BackupConfig(enabled=True, compression="{compression}", tools_dir="{tools}", encryption_key={key!r})
"""
SCHEMA = """
CREATE TABLE book (id bigserial PRIMARY KEY, isbn uuid NOT NULL, title varchar(200) NOT NULL, summary text NOT NULL,
    pages integer NOT NULL, price numeric(8, 2) NOT NULL, published timestamptz NOT NULL);
CREATE TABLE sale (id bigserial PRIMARY KEY, book_id bigint NOT NULL, receipt uuid NOT NULL,
    quantity integer NOT NULL, amount double precision NOT NULL, sold_at timestamptz NOT NULL);
"""
INDEXES = """
ALTER TABLE sale ADD FOREIGN KEY (book_id) REFERENCES book (id);
CREATE INDEX ON sale (book_id);
CREATE INDEX ON book (published);
"""
FILL = """
import sys, psycopg
from benchmarks.sample import ROWS, books, sales
count = int(ROWS * float(sys.argv[2]))
with psycopg.connect(sys.argv[1]) as connection, connection.cursor() as cursor:
    for table, rows in (("book", books(count)), ("sale", sales(count))):
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
"""
BASELINE = "pg_dump -Fc -Z0 >/dev/null"
IN_PLAIN = "backup_create, gzip"


def main(turns: int = 5, scale: float = 1.0, slow: bool = False, encrypted: bool = False) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = PostgreSQL(postgresql_programs()[0], folder / "server")
        try:
            fill(server, scale)
            contenders = list(_encrypted(folder, server) if encrypted else _contenders(folder, server, slow))
            results = in_turns(contenders, turns)
            size = server.sql("SELECT pg_database_size('bench')")[0][0]
            print(f"PostgreSQL, {size / 1e6:,.0f} MB on its disk, {turns} turns, medians")  # type: ignore[operator]
            print(report(results, IN_PLAIN if encrypted else BASELINE))
        finally:
            server.stop("immediate")


def fill(server: PostgreSQL, scale: float) -> None:
    print("Filling the sample database ...", file=sys.stderr)
    server.sql("CREATE DATABASE bench")
    server.sql(*SCHEMA.strip().split("\n\n"), database="bench")
    where = f"host=127.0.0.1 port={server.port} user={server.USER} password={server.PASSWORD} dbname=bench"
    subprocess.run([sys.executable, "-c", FILL, where, str(scale)], check=True)
    server.sql(*INDEXES.strip().splitlines(), "VACUUM ANALYZE", database="bench")


def _contenders(folder: Path, server: PostgreSQL, slow: bool) -> Iterable[Contender]:
    dump = f"{server.programs / 'pg_dump'} --format=custom --compress=0"
    out = folder / "dump.gz"
    env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": server.USER,
           "PGPASSWORD": server.PASSWORD, "PGDATABASE": "bench"}  # fmt: skip
    yield Contender(BASELINE, ["sh", "-c", f"{dump} >/dev/null"], lambda: None, lambda: 0, env)
    yield Contender(
        "pg_dump | gzip -6",
        ["sh", "-c", f"{dump} | gzip -6 > {out}"],
        lambda: out.unlink(missing_ok=True),
        lambda: out.stat().st_size,
        env,
    )
    yield _django(folder, server, IN_PLAIN, "gzip")
    yield _django(folder, server, "a worker, gzip", "gzip", WORKER)
    yield _django(folder, server, "a worker, gzip, not counted", "gzip", (*WORKER, "uncounted"))
    yield _django(folder, server, "a worker, gzip, format not checked", "gzip", (*WORKER, "unchecked"))
    yield _django(folder, server, "backup_create, none", "none")
    yield _django(folder, server, "a worker, none", "none", WORKER)
    yield _django(folder, server, "a worker, none, format not checked", "none", (*WORKER, "unchecked"))
    if slow:
        yield _django(folder, server, "backup_create, xz", "xz")
    if find_spec("dbbackup"):
        other = (sys.executable, "-m", "django", "dbbackup", "--quiet")
        yield _django(folder, server, "django-dbbackup", "none", other)
        yield _django(folder, server, "django-dbbackup -z", "none", (*other, "-z"))


def _encrypted(folder: Path, server: PostgreSQL) -> Iterable[Contender]:
    laptop = Laptop.make()
    public = laptop.public
    laptop.home.remove()
    yield _django(folder, server, IN_PLAIN, "gzip")
    yield _django(folder, server, "gzip, to a public key", "gzip", key=public)
    yield _django(folder, server, "gzip, with a passphrase", "gzip", key="correct horse battery staple")


def _django(
    folder: Path,
    server: PostgreSQL,
    name: str,
    compression: str,
    command: Sequence[str] = CREATE,
    key: str | None = None,
) -> Contender:
    text = settings(server, compression, '"dbbackup"' if "dbbackup" in name else "", key)
    return backing_up(folder, name, text, command, programs=server.programs)


def settings(server: PostgreSQL, compression: str, apps: str = "", key: str | None = None) -> str:
    """Of a project whose database is the sample."""
    text = SETTINGS.format(
        apps=apps, database=server.settings("bench"), compression=compression, tools=server.programs, key=key
    )
    return text + DBBACKUP
