"""What is in a SQLite database: its tables, their rows, its applied migrations."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from django_cfg.backup.engines.base import Selection
from django_cfg.backup.engines.table_comparison import matching
from django_cfg.backup.errors import UsageError


@dataclass(frozen=True)
class Tables:
    """The names of all tables: ordinary ones, virtual ones, and the shadows virtual ones keep data in."""

    ordinary: tuple[str, ...]
    virtual: tuple[str, ...]
    shadows: tuple[str, ...]

    @property
    def selectable(self) -> tuple[str, ...]:
        """What a configuration may name: a shadow belongs to its virtual table."""
        return tuple(sorted(self.ordinary + self.virtual))

    @property
    def stored(self) -> tuple[str, ...]:
        """What holds rows in the file: counted without needing any module of a virtual table."""
        return tuple(sorted(self.ordinary + self.shadows))

    def shadows_of(self, virtual: str) -> tuple[str, ...]:
        return tuple(name for name in self.shadows if name.startswith(f"{virtual}_"))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def tables(connection: sqlite3.Connection) -> Tables:
    rows = connection.execute(
        "SELECT name, sql LIKE 'CREATE VIRTUAL%' FROM sqlite_master "
        "WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ).fetchall()
    virtual = tuple(name for name, is_virtual in rows if is_virtual)
    shadows = _shadows(connection, [name for name, is_virtual in rows if not is_virtual], virtual)
    ordinary = tuple(name for name, is_virtual in rows if not is_virtual and name not in shadows)
    return Tables(ordinary, virtual, shadows)


def _shadows(connection: sqlite3.Connection, names: list[str], virtual: tuple[str, ...]) -> tuple[str, ...]:
    if sqlite3.sqlite_version_info >= (3, 37):
        found = connection.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'")
        told = {name for (name,) in found}
        return tuple(name for name in names if name in told)
    return tuple(name for name in names if name.startswith(tuple(f"{table}_" for table in virtual)))


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """The exact rows of every table that stores some."""
    return {name: _one(connection, f"SELECT count(*) FROM {quoted(name)}") for name in tables(connection).stored}


def last_migrations(connection: sqlite3.Connection) -> dict[str, str]:
    """The last migration applied of each app; empty where Django keeps no record."""
    if "django_migrations" not in tables(connection).ordinary:
        return {}
    return dict(connection.execute("SELECT app, name FROM django_migrations ORDER BY id"))


@dataclass(frozen=True)
class Cut:
    """What a selection takes out of a copy."""

    emptied: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def copies(self) -> int:
        """How many copies of the database are on disk at a time: what is cut is written anew."""
        return 2 if self.emptied or self.dropped else 1


def cut(connection: sqlite3.Connection, selection: Selection, alias: str) -> Cut:
    """What *selection* takes out of the database.

    :raises UsageError: a pattern matches nothing, or a table that stays needs one that is emptied or left out.
    """
    found = tables(connection)
    emptied = matching(found.selectable, selection.exclude, "exclude_tables", alias)
    kept = (
        matching(found.selectable, selection.include, "include_tables", alias)
        if selection.partial
        else found.selectable
    )
    _refuse_dangling(connection, [name for name in kept if name not in emptied], emptied, alias)
    dropped = tuple(name for name in found.selectable if name not in kept)
    _refuse_missing(connection, kept, dropped, alias)
    return Cut(tuple(name for name in emptied if name in kept), dropped)


def _refuse_dangling(connection: sqlite3.Connection, kept: list[str], emptied: tuple[str, ...], alias: str) -> None:
    without_rows = {name.casefold() for name in emptied}  # SQLite's names ignore case
    for table in kept:
        for column, target in references(connection, table):
            if target.casefold() in without_rows and _one(
                connection, f"SELECT EXISTS (SELECT 1 FROM {quoted(table)} WHERE {quoted(column)} IS NOT NULL)"
            ):
                raise UsageError(
                    f"exclude_tables of the database {alias!r} leaves out the rows of {target}, but rows of {table} "
                    f"refer to them by {table}.{column}: restored, they would break that foreign key. "
                    f"Exclude {table} too, or keep {target}."
                )


def _refuse_missing(
    connection: sqlite3.Connection, kept: tuple[str, ...], dropped: tuple[str, ...], alias: str
) -> None:
    gone = {name.casefold() for name in dropped}
    for table in kept:
        for column, target in references(connection, table):
            if target.casefold() in gone:
                raise UsageError(
                    f"include_tables of the database {alias!r} names {table} and not {target}, to which it refers by "
                    f"{table}.{column}: its rows would refer to nothing. Include {target} too."
                )


def references(connection: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    rows = connection.execute('SELECT "from", "table" FROM pragma_foreign_key_list(?)', (table,))
    return [(column, target) for column, target in rows]


def _one(connection: sqlite3.Connection, query: str) -> int:
    value: int = connection.execute(query).fetchone()[0]
    return value
