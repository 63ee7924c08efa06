"""Sanitizers as a project writes them, for a database of authors and books."""

from __future__ import annotations

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


def lose_books(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM book")
