"""MariaDB: ``backup_create`` against mariadb-dump alone, mariadb-dump with gzip, and django-dbbackup."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from tests.support.mariadb_server import MariaDB, mariadb_program

from benchmarks.measure import Contender, in_turns, report
from benchmarks.project import CREATE, DBBACKUP, WORKER, backing_up
from benchmarks.sample import ROWS, books, sales

SETTINGS = """
from pathlib import Path
import pymysql
from django_cfg import BackupConfig
pymysql.install_as_MySQLdb()
BASE_DIR = Path(__file__).parent
SECRET_KEY = "bench"
USE_TZ = True
INSTALLED_APPS = ["django_cfg.backup", {apps}]
DATABASES = {{"default": {database!r}}}
BACKUP = BackupConfig(enabled=True, compression="{compression}")
"""
SCHEMA = (
    "CREATE DATABASE bench CHARACTER SET utf8mb4",
    "CREATE TABLE bench.book (id bigint AUTO_INCREMENT PRIMARY KEY, isbn char(32) NOT NULL, title varchar(200) NOT NULL"
    ", summary longtext NOT NULL, pages integer NOT NULL, price numeric(8, 2) NOT NULL, published datetime NOT NULL)",
    "CREATE TABLE bench.sale (id bigint AUTO_INCREMENT PRIMARY KEY, book_id bigint NOT NULL, receipt char(32) NOT NULL,"
    " quantity integer NOT NULL, amount double precision NOT NULL, sold_at datetime(6) NOT NULL)",
)
INDEXES = (
    "ALTER TABLE bench.sale ADD FOREIGN KEY (book_id) REFERENCES bench.book (id)",
    "CREATE INDEX published ON bench.book (published)",
    "ANALYZE TABLE bench.book, bench.sale",
)
BASELINE = "mariadb-dump >/dev/null"
SIZE = "SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = 'bench'"
FLAGS = "--single-transaction --quick --routines --events --hex-blob --no-tablespaces --default-character-set=utf8mb4"


def main(turns: int = 5, scale: float = 1.0, slow: bool = False) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = MariaDB(folder / "server")
        try:
            server.stop()
            server.start("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=256M")
            _fill(server, scale)
            results = in_turns(list(_contenders(folder, server, slow)), turns)
            print(f"MariaDB, {int(str(server.sql(SIZE)[0][0])) / 1e6:,.0f} MB in its tables, {turns} turns, medians")
            print(report(results, BASELINE))
        finally:
            server.stop(kill=True)


def _fill(server: MariaDB, scale: float) -> None:
    print("Filling the sample database ...", file=sys.stderr)
    server.sql(*SCHEMA)
    count = int(ROWS * scale)
    with closing(server.connect("bench")) as connection, connection.cursor() as cursor:
        for table, rows in (("book", books(count)), ("sale", sales(count))):
            while block := list(islice(rows, 5000)):
                marks = ", ".join(["%s"] * len(block[0]))
                cursor.executemany(f"INSERT INTO {table} VALUES ({marks})", block)
    server.sql(*INDEXES)


def _contenders(folder: Path, server: MariaDB, slow: bool) -> Iterable[Contender]:
    dump = (
        f"{mariadb_program('mariadb-dump')} --no-defaults --host=127.0.0.1 --port={server.port} --user={server.USER} "
        f"{FLAGS} bench"
    )
    out = folder / "dump.gz"
    env = {**os.environ, "MYSQL_PWD": server.PASSWORD}
    yield Contender(BASELINE, ["sh", "-c", f"{dump} >/dev/null"], lambda: None, lambda: 0, env)
    yield Contender(
        "mariadb-dump | gzip -6",
        ["sh", "-c", f"{dump} | gzip -6 > {out}"],
        lambda: out.unlink(missing_ok=True),
        lambda: out.stat().st_size,
        env,
    )
    yield _django(folder, server, "backup_create, gzip", "gzip")
    yield _django(folder, server, "a worker, gzip", "gzip", WORKER)
    yield _django(folder, server, "backup_create, none", "none")
    yield _django(folder, server, "a worker, none", "none", WORKER)
    if slow:
        yield _django(folder, server, "backup_create, xz", "xz")
    if find_spec("dbbackup"):
        other = (sys.executable, "-m", "django", "dbbackup", "--quiet")
        yield _django(folder, server, "django-dbbackup", "none", other)
        yield _django(folder, server, "django-dbbackup -z", "none", (*other, "-z"))


def _django(folder: Path, server: MariaDB, name: str, compression: str, command: Sequence[str] = CREATE) -> Contender:
    apps = '"dbbackup"' if "dbbackup" in name else ""
    settings = SETTINGS.format(apps=apps, database=server.settings("bench"), compression=compression)
    return backing_up(folder, name, settings + DBBACKUP, command)
