"""PostgreSQL: ``backup_create`` against pg_dump alone, pg_dump with gzip, and django-dbbackup."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from tests.backup.gnupg import Laptop
from tests.servers import PostgreSQL, postgresql_programs

from benchmarks.measure import Contender, folder_size, in_turns, report

SETTINGS = """
from pathlib import Path
from django_cfg import BackupConfig
BASE_DIR = Path(__file__).parent
SECRET_KEY = "bench"
USE_TZ = True
INSTALLED_APPS = ["django_cfg.backup", {apps}]
DATABASES = {{"default": {database!r}}}
BACKUP = BackupConfig(enabled=True, compression="{compression}", tools_dir="{tools}", encryption_key={key!r})
STORAGES = {{
    "default": {{"BACKEND": "django.core.files.storage.FileSystemStorage"}},
    "staticfiles": {{"BACKEND": "django.core.files.storage.FileSystemStorage"}},
    "dbbackup": {{
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {{"location": BASE_DIR / "out"}},
    }},
}}
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
UNCOUNTED = """
import sys
from django.core.management import execute_from_command_line
from django_cfg.backup.engines.postgresql import schema
schema.count_rows = lambda connection, names: {str(name): 0 for name in names}
execute_from_command_line(["manage.py", "backup_create", "--verbosity=0"])
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
    create = [sys.executable, "-m", "django", "backup_create", "--verbosity=0"]
    yield _django(folder, server, IN_PLAIN, "gzip", create)
    yield _django(folder, server, "backup_create, gzip, not counted", "gzip", [sys.executable, "-c", UNCOUNTED])
    yield _django(folder, server, "backup_create, none", "none", create)
    if slow:
        yield _django(folder, server, "backup_create, xz", "xz", create)
    if find_spec("dbbackup"):
        other = [sys.executable, "-m", "django", "dbbackup", "--quiet"]
        yield _django(folder, server, "django-dbbackup", "none", other)
        yield _django(folder, server, "django-dbbackup -z", "none", [*other, "-z"])


def _encrypted(folder: Path, server: PostgreSQL) -> Iterable[Contender]:
    create = [sys.executable, "-m", "django", "backup_create", "--verbosity=0"]
    laptop = Laptop.make()
    public = laptop.public
    laptop.home.remove()
    yield _django(folder, server, IN_PLAIN, "gzip", create)
    yield _django(folder, server, "gzip, to a public key", "gzip", create, public)
    yield _django(folder, server, "gzip, with a passphrase", "gzip", create, "correct horse battery staple")


def _django(
    folder: Path, server: PostgreSQL, name: str, compression: str, command: list[str], key: str | None = None
) -> Contender:
    project = folder / name.replace(" ", "_").replace(",", "")
    project.mkdir()
    apps = '"dbbackup"' if "dbbackup" in name else ""
    database = server.settings("bench")
    text = SETTINGS.format(apps=apps, database=database, compression=compression, tools=server.programs, key=key)
    (project / "bench_settings.py").write_text(text)
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "bench_settings", "PYTHONPATH": str(project),
           "PATH": f"{server.programs}:{os.environ['PATH']}"}  # fmt: skip
    places = [project / "backups", project / "out"]

    def clear() -> None:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)

    return Contender(name, command, clear, lambda: sum(folder_size(p) for p in places if p.exists()), env)
