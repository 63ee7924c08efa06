"""The sample database of the benchmarks, a shop of books: text, numbers, UUIDs and times, and what refers to what.

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

ROWS = 2_000_000  # books and sales each, at size 1: about 1 GB with the indexes
_START = datetime(2020, 1, 1, tzinfo=UTC)
_SYLLABLES = ("ba", "co", "den", "fi", "gor", "hal", "in", "ju", "ker", "lo", "mi", "nar", "os", "pe", "ri", "sta")

# In the words of all three databases but for the types in braces: 8 indexes and 4 foreign keys, as a shop has them.
TABLES = {
    "publisher": "id bigint PRIMARY KEY, name varchar(200) NOT NULL",
    "customer": "id bigint PRIMARY KEY, email varchar(200) NOT NULL, favourite_id bigint NOT NULL",
    "book": "id bigint PRIMARY KEY, isbn {uuid} NOT NULL, title varchar(200) NOT NULL, summary {text} NOT NULL, "
    "pages integer NOT NULL, price numeric(8, 2) NOT NULL, published {moment} NOT NULL, publisher_id bigint NOT NULL",
    "sale": "id bigint PRIMARY KEY, book_id bigint NOT NULL, receipt {uuid} NOT NULL, quantity integer NOT NULL, "
    "amount {real} NOT NULL, sold_at {moment} NOT NULL, customer_id bigint NOT NULL",
}
INDEXES = {
    "customer_email": "customer (email)",
    "book_publisher": "book (publisher_id)",
    "book_published": "book (published)",
    "book_title": "book (title)",
    "book_isbn": "book (isbn)",
    "sale_book": "sale (book_id)",
    "sale_customer": "sale (customer_id)",
    "sale_sold_at": "sale (sold_at)",
}
FOREIGN_KEYS = {
    "customer": {"favourite_id": "publisher"},
    "book": {"publisher_id": "publisher"},
    "sale": {"book_id": "book", "customer_id": "customer"},
}
_PUBLISHERS = 1000

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
            choose.randrange(1, _PUBLISHERS + 1),
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
            choose.randrange(1, count // 10 + 1),
        )


def tables(size: float) -> Iterator[tuple[str, Iterator[Row]]]:
    """Each table with its rows, those that are referred to first; *size* in GB, about."""
    count = max(int(ROWS * size), 10)
    choose, vocabulary = random.Random(3), words(3)
    names = ((number, " ".join(choose.choices(vocabulary, k=2))) for number in range(1, _PUBLISHERS + 1))
    people = (
        (number, f"{choose.choice(vocabulary)}.{number}@example.com", choose.randrange(1, _PUBLISHERS + 1))
        for number in range(1, count // 10 + 1)
    )
    yield from (("publisher", names), ("customer", people), ("book", books(count)), ("sale", sales(count)))


def blocks(rows: Iterator[Row], length: int) -> Iterator[list[Row]]:
    """*rows* in lists."""
    while block := list(islice(rows, length)):
        yield block


def fill_sqlite(path: Path, size: float = 1.0) -> None:
    """Make the sample as a SQLite file."""
    types = {"uuid": "char(32)", "text": "text", "real": "real", "moment": "datetime"}
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for table, columns in TABLES.items():
            references = "".join(
                f", FOREIGN KEY ({column}) REFERENCES {other} (id)"
                for column, other in FOREIGN_KEYS.get(table, {}).items()
            )
            connection.execute(f"CREATE TABLE {table} ({columns.format(**types)}{references})")
        for table, rows in tables(size):
            for block in blocks(rows, 50_000):
                connection.execute("BEGIN")
                connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(block[0]))})", block)
                connection.execute("COMMIT")
        for name, on in INDEXES.items():
            connection.execute(f"CREATE INDEX {name} ON {on}")
