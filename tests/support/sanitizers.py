"""Sanitizers as a project writes them, for a database of authors and books."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db import connections, models, transaction

not_callable = "UPDATE author SET name = ''"


def scrub(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE author SET name = %s", ["somebody"])


class Author(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        app_label = "sanitizers"
        db_table = "author"
        managed = False


def scrub_with_models(connection: Any) -> None:
    with transaction.atomic(using=connection.alias):
        Author.objects.using(connection.alias).filter(name__startswith="Author").update(name="somebody")
    assert connections[connection.alias] is connection


def leave_a_transaction_open(connection: Any) -> None:
    connection.set_autocommit(False)
    scrub(connection)


def fail_with_a_row(connection: Any) -> None:
    scrub(connection)
    with connection.cursor() as cursor:
        cursor.execute("SELECT title FROM book WHERE id = 7")
        raise ValueError(f"no e-mail in {cursor.fetchone()}")


def forget_using(connection: Any) -> None:
    """Change the live database."""
    Author.objects.using("default").count()  # which may be read
    Author.objects.update(name="somebody")


def forget_using_and_go_on(connection: Any) -> None:
    with suppress(Exception):
        forget_using(connection)


def hang(connection: Any) -> None:
    """Run a query that takes half a minute."""
    Path("sanitizing").touch()
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000000) SELECT max(i) FROM n"
        )


async def scrub_later(connection: Any) -> None:
    scrub(connection)


def scrub_in_steps(connection: Any) -> Iterator[None]:
    scrub(connection)
    yield


class Scrubber:
    def __init__(self, connection: Any) -> None:
        self.connection = connection


def lose_books(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM book")


def leave_a_connection_open(connection: Any) -> None:
    """Another one than the one that it was given, which still reads."""
    scrub(connection)
    connection.commit()
    left_open.append(sqlite3.connect(connection.settings_dict["NAME"], uri=True))
    left_open[-1].execute("BEGIN")
    left_open[-1].execute("SELECT name FROM author").fetchone()


left_open: list[sqlite3.Connection] = []
