"""The sample database of the benchmarks: 6 million rows in two tables; text, numbers, UUIDs and times.

The same rows on every engine and on every machine: the generator starts from a fixed seed.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from uuid import UUID

ROWS = 3_000_000  # per table, at scale 1: about 1 GB of SQLite file
_START = datetime(2020, 1, 1, tzinfo=UTC)
_SYLLABLES = ("ba", "co", "den", "fi", "gor", "hal", "in", "ju", "ker", "lo", "mi", "nar", "os", "pe", "ri", "sta")

SQLITE_SCHEMA = """
CREATE TABLE book (id integer PRIMARY KEY AUTOINCREMENT, isbn char(32) NOT NULL, title varchar(200) NOT NULL,
    summary text NOT NULL, pages integer NOT NULL, price decimal NOT NULL, published datetime NOT NULL);
CREATE TABLE sale (id integer PRIMARY KEY AUTOINCREMENT, book_id bigint NOT NULL REFERENCES book (id),
    receipt char(32) NOT NULL, quantity integer NOT NULL, amount real NOT NULL, sold_at datetime NOT NULL);
"""
SQLITE_INDEXES = """
CREATE INDEX sale_book ON sale (book_id);
CREATE INDEX book_published ON book (published);
"""

Row = tuple[object, ...]


def words(seed: int) -> list[str]:
    """Two thousand made-up words, the frequent ones short."""
    choose = random.Random(seed)
    return ["".join(choose.choices(_SYLLABLES, k=1 + number // 700)) for number in range(2000)]


def books(count: int) -> Iterator[Row]:
    choose, vocabulary = random.Random(1), words(1)
    weights = [1 / (rank + 1) for rank in range(len(vocabulary))]
    pool = choose.choices(vocabulary, weights, k=500_000)
    for number in range(1, count + 1):
        at = choose.randrange(len(pool) - 34)
        yield (
            number,
            UUID(int=choose.getrandbits(128)).hex,
            " ".join(pool[at : at + 4]),
            " ".join(pool[at + 4 : at + 34]),
            choose.randrange(40, 900),
            choose.randrange(100, 9900) / 100,
            str(_START + timedelta(seconds=choose.randrange(200_000_000)))[:19],
        )


def sales(count: int) -> Iterator[Row]:
    choose = random.Random(2)
    for number in range(1, count + 1):
        yield (
            number,
            choose.randrange(1, count + 1),
            UUID(int=choose.getrandbits(128)).hex,
            choose.randrange(1, 9),
            choose.random() * 100,
            str(_START + timedelta(seconds=choose.randrange(200_000_000)))[:19],
        )


def fill_sqlite(path: Path, scale: float = 1.0) -> None:
    """Make the sample as a SQLite file; *scale* 1.0 is about 1 GB."""
    count = int(ROWS * scale)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(SQLITE_SCHEMA)
        for table, rows in (("book", books(count)), ("sale", sales(count))):
            while block := list(islice(rows, 50_000)):
                marks = ", ".join("?" * len(block[0]))
                connection.execute("BEGIN")
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", block)
                connection.execute("COMMIT")
        connection.executescript(SQLITE_INDEXES)
