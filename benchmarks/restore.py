"""PostgreSQL: ``backup_restore`` over a shop's database, against pg_restore of a compressed and of a raw file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.postgresql_server import PostgreSQL, postgresql_programs

from benchmarks.measure import Contender, in_turns, report
from benchmarks.postgresql import settings
from benchmarks.project import CREATE, make_project

BASELINE = "gunzip | pg_restore"
PLAIN = "new"  # the database that pg_restore alone fills
# Of 5 tables, 13 indexes - 5 of them primary keys - and 4 foreign keys; scale 1 is 1 GB on the disk.
SHOP = """
CREATE TABLE customer (id bigint PRIMARY KEY, email varchar(120) NOT NULL, name varchar(80) NOT NULL,
    city varchar(40), created timestamptz NOT NULL);
CREATE TABLE product (id bigint PRIMARY KEY, sku varchar(20) NOT NULL, title varchar(200) NOT NULL, description text,
    price numeric(10,2) NOT NULL);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, status varchar(12) NOT NULL,
    total numeric(12,2) NOT NULL, note text, created timestamptz NOT NULL);
CREATE TABLE line (id bigint PRIMARY KEY, order_id bigint NOT NULL, product_id bigint NOT NULL, quantity int NOT NULL,
    price numeric(10,2) NOT NULL, sku varchar(20) NOT NULL);
CREATE TABLE payment (id bigint PRIMARY KEY, order_id bigint NOT NULL, reference uuid NOT NULL,
    amount numeric(12,2) NOT NULL, paid timestamptz NOT NULL);
INSERT INTO customer SELECT i, md5(i::text) || '@example.com', 'Name ' || md5((i * 7)::text), 'City ' || i % 977,
    '2020-01-01'::timestamptz + (i * 37 % 100000000) * interval '1 s' FROM generate_series(1::bigint, {customers}) i;
INSERT INTO product SELECT i, 'SKU' || lpad(i::text, 10, '0'), 'Product ' || md5(i::text),
    repeat(md5((i * 3)::text) || ' ', 8), (i % 9999) / 100.0 FROM generate_series(1::bigint, {products}) i;
INSERT INTO orders SELECT i, 1 + i * 7919 % {customers}, (ARRAY['new', 'paid', 'shipped', 'done'])[1 + i % 4],
    (i % 99999) / 100.0, md5((i * 11)::text) || ' ' || md5((i * 13)::text),
    '2020-01-01'::timestamptz + (i * 31 % 150000000) * interval '1 s' FROM generate_series(1::bigint, {orders}) i;
INSERT INTO line SELECT i, 1 + i * 104729 % {orders}, 1 + i * 7907 % {products}, 1 + i % 5, (i % 9999) / 100.0,
    'SKU' || lpad((1 + i * 7907 % {products})::text, 10, '0') FROM generate_series(1::bigint, {lines}) i;
INSERT INTO payment SELECT i, i, md5(i::text)::uuid, (i % 99999) / 100.0,
    '2020-01-01'::timestamptz + (i * 31 % 150000000) * interval '1 s' FROM generate_series(1::bigint, {orders}) i;
CREATE UNIQUE INDEX customer_email ON customer (email);
CREATE UNIQUE INDEX product_sku ON product (sku);
CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX orders_created ON orders (created);
CREATE INDEX line_order ON line (order_id);
CREATE INDEX line_product ON line (product_id);
CREATE UNIQUE INDEX payment_reference ON payment (reference);
CREATE INDEX payment_paid ON payment (paid);
ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customer (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE line ADD FOREIGN KEY (order_id) REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE line ADD FOREIGN KEY (product_id) REFERENCES product (id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE payment ADD FOREIGN KEY (order_id) REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED;
"""


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


def fill(server: PostgreSQL, scale: float) -> None:
    print("Filling the shop's database ...", file=sys.stderr)
    server.sql("CREATE DATABASE bench")
    counts = {"customers": 240_000, "products": 48_000, "orders": 1_440_000, "lines": 3_600_000}
    shop = SHOP.format(**{name: max(100, int(count * scale)) for name, count in counts.items()})
    server.sql(*shop.strip().removesuffix(";").split(";\n"), "VACUUM ANALYZE", database="bench")


def _contenders(folder: Path, server: PostgreSQL) -> Iterator[Contender]:
    plain = folder / "plain.pgdump"
    env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": server.USER,
           "PGPASSWORD": server.PASSWORD}  # fmt: skip
    tool = {name: server.programs / name for name in ("pg_dump", "createdb", "pg_restore")}
    dump = [tool["pg_dump"], "--format=custom", "--compress=0", f"--file={plain}", "bench"]
    subprocess.run(dump, env=env, check=True)
    subprocess.run(["gzip", "--keep", "-6", plain], check=True)
    create = f"{tool['createdb']} --template=template0 {PLAIN}"
    for name, restore in (
        (BASELINE, f"gunzip --stdout {plain}.gz | {tool['pg_restore']} --dbname={PLAIN}"),
        ("pg_restore, raw", f"{tool['pg_restore']} --dbname={PLAIN} {plain}"),
        ("pg_restore -j2, raw", f"{tool['pg_restore']} --jobs=2 --dbname={PLAIN} {plain}"),
    ):
        yield Contender(name, ["sh", "-c", f"{create} && {restore}"], lambda: _settle(server), lambda: 0, env)
    for compression in ("none", "gzip"):
        for jobs in (1, 2):
            yield _ours(folder, server, compression, f"{jobs} jobs", f"--jobs={jobs}")
    yield _ours(folder, server, "gzip", "in place", "--in-place", "--discard-old")


# Django is started before the time is taken.
_RESTORE = """
import sys
import django
django.setup()
from django.core.management import call_command
print("ready", flush=True)
sys.stdin.read()
call_command("backup_restore", *sys.argv[1:])
"""


def _ours(folder: Path, server: PostgreSQL, compression: str, form: str, *options: str) -> Contender:
    _, env = make_project(folder, f"{compression} {form}", settings(server, compression))
    subprocess.run(CREATE, env=env, check=True)
    command = [sys.executable, "-c", _RESTORE, "--yes", "--verbosity=0", *options]
    name = f"backup_restore, {compression}, {form}"
    return Contender(name, command, lambda: _settle(server), lambda: 0, env, waits=True)


def _settle(server: PostgreSQL) -> None:
    """Nothing is left of the turn before: no database of it, and no page that still has to be written."""
    found = server.sql("SELECT datname FROM pg_database WHERE datname LIKE 'bench\\_\\_%'")
    server.sql(*(f"DROP DATABASE IF EXISTS {name}" for name in (PLAIN, *(name for (name,) in found))), "CHECKPOINT")
