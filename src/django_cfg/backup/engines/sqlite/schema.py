"""What is in a SQLite database: its tables, their rows, its applied migrations."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django_cfg.backup.engines.base import Selection, group_migrations
from django_cfg.backup.engines.table_comparison import matching
from django_cfg.backup.errors import UsageError

_FTS = re.compile(
    r"""\bUSING\s+["'`[]?fts[45]\b.*?[(,]\s*content\s*=\s*"""
    r"""(?P<content>'(?:[^']|'')+'|"(?:[^"]|"")+"|`(?:[^`]|``)+`|\[[^\]]+\]|[^\s,)'"]+)""",
    re.IGNORECASE | re.DOTALL,
)
_FTS_MODULE = re.compile(r"""\bUSING\s+["'`[]?fts[345]\b""", re.IGNORECASE)


@dataclass(frozen=True)
class Tables:
    """The names of all tables: ordinary ones, virtual ones, and the shadow tables in which virtual ones keep data."""

    ordinary: tuple[str, ...]
    virtual: tuple[str, ...]
    shadows: tuple[str, ...]

    @property
    def selectable(self) -> tuple[str, ...]:
        """What a configuration may name: a shadow table belongs to its virtual table."""
        return tuple(sorted(self.ordinary + self.virtual))

    @property
    def stored(self) -> tuple[str, ...]:
        """What holds rows in the file, and is counted without the module of a virtual table."""
        return tuple(sorted(self.ordinary + self.shadows))


@dataclass(frozen=True)
class SelectedTables:
    """What a selection removes from a copy."""

    emptied: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def copies(self) -> int:
        """The number of copies on the disk at a time: one from which something is removed is written again."""
        return 2 if self.emptied or self.dropped else 1


def quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def read_pragma(connection: sqlite3.Connection, name: str) -> str:
    return str(connection.execute(f"PRAGMA {name}").fetchone()[0])


def list_tables(connection: sqlite3.Connection) -> Tables:
    rows = connection.execute(
        "SELECT name, sql LIKE 'CREATE VIRTUAL%' FROM sqlite_master "
        "WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ).fetchall()
    virtual = tuple(name for name, is_virtual in rows if is_virtual)
    others = tuple(name for name, is_virtual in rows if not is_virtual)
    if sqlite3.sqlite_version_info >= (3, 37):
        found = connection.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'")
        known = {name for (name,) in found}
    else:
        known = {name for name in others if name.startswith(tuple(f"{table}_" for table in virtual))}
    shadows = tuple(name for name in others if name in known)
    return Tables(tuple(name for name in others if name not in known), virtual, shadows)


def list_search_indexes(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the full-text tables whose content is another table, each with that table or view.

    https://sqlite.org/fts5.html#external_content_tables
    """
    query = "SELECT name, sql FROM main.sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'"
    found = ((name, _FTS.search(sql)) for name, sql in connection.execute(query))
    contents = ((name, match["content"]) for name, match in found if match)
    return [(name, text[1:-1].replace(text[0] * 2, text[0]) if text[0] in "'\"`[" else text) for name, text in contents]


def rebuild_search_indexes(connection: sqlite3.Connection, changed: Collection[str]) -> None:
    """Build again what full-text tables know of the *changed* tables, whose triggers did not fire.

    Else they would find rows that do not exist, which SQLite reports as damage, and keep the words of deleted rows.
    """
    tables = {name.casefold() for name in changed}
    for name, content in list_search_indexes(connection):
        if content.casefold() in tables:
            table = quote_name(name)
            connection.execute(f"INSERT INTO main.{table} ({table}) VALUES ('rebuild')")


def forget_removed_words(connection: sqlite3.Connection, changed: Collection[str] | None = None) -> None:
    """Let full-text tables drop the words of rows that were deleted or changed: they keep them for a long time.

    :param changed: the full-text tables whose rows were; None: any, and what they index too.
    """
    query = "SELECT name, sql FROM main.sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'"
    of_other_tables = {name for name, _ in list_search_indexes(connection)} if changed is None else set()
    for name, sql in connection.execute(query).fetchall():
        if _FTS_MODULE.search(sql) and (changed is None or name in changed):
            table, command = quote_name(name), "rebuild" if name in of_other_tables else "optimize"
            connection.execute(f"INSERT INTO main.{table} ({table}) VALUES (?)", (command,))


def list_references(connection: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    """Return the foreign keys of *table*: each column, and the table to which it refers."""
    rows = connection.execute('SELECT "from", "table" FROM pragma_foreign_key_list(?)', (table,))
    return [(column, parent) for column, parent in rows]


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the exact number of rows of every table that stores some."""
    return {
        name: connection.execute(f"SELECT count(*) FROM {quote_name(name)}").fetchone()[0]
        for name in list_tables(connection).stored
    }


def fetch_migrations(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """Return the applied migrations of each app; nothing where Django keeps no record."""
    if "django_migrations" not in list_tables(connection).ordinary:
        return {}
    return group_migrations(connection.execute("SELECT app, name FROM django_migrations ORDER BY id"))


def find_damage(connection: sqlite3.Connection, *, indexes: bool = False) -> str:
    """Return what SQLite finds wrong with the structure of every page and row; empty if nothing.

    :param indexes: compare every index with its table too: many times slower on random keys.
    """
    pragma = "integrity_check" if indexes else "quick_check"
    found = [line for (line,) in connection.execute(f"PRAGMA {pragma}(5)")]
    return "" if found == ["ok"] else "; ".join(found)


@contextmanager
def without_triggers(connection: sqlite3.Connection) -> Iterator[None]:
    """Drop all triggers for the block and create them again: they would change tables that stay."""
    triggers = connection.execute("SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER main.{quote_name(name)}")
    yield
    for _, sql in triggers:
        connection.execute(sql)


def select_tables(connection: sqlite3.Connection, selection: Selection, alias: str) -> SelectedTables:
    """Return what *selection* removes from the database.

    :raises UsageError: a pattern matches nothing, or rows that stay refer to a table that is emptied or left out.
    """
    found = list_tables(connection).selectable
    emptied = matching(found, selection.exclude, "exclude_tables", alias)
    kept = matching(found, selection.include, "include_tables", alias) if selection.partial else found
    dropped = tuple(name for name in found if name not in kept)
    _refuse_emptied_parents(connection, [name for name in kept if name not in emptied], emptied, alias)
    gone = {name.casefold() for name in dropped}
    for table in kept:
        for column, parent in list_references(connection, table):
            if parent.casefold() in gone:
                raise UsageError(
                    f"include_tables of the database {alias!r} names {table} and not {parent}, to which it refers by "
                    f"{table}.{column}: its rows would refer to nothing. Include {parent} too."
                )
    for table, content in list_search_indexes(connection):
        if table in kept and content.casefold() in gone:
            raise UsageError(
                f"include_tables of the database {alias!r} names {table} and not {content}, whose rows it indexes: "
                f"Include {content} too."
            )
    return SelectedTables(tuple(name for name in emptied if name in kept), dropped)


def _refuse_emptied_parents(
    connection: sqlite3.Connection, filled: list[str], emptied: tuple[str, ...], alias: str
) -> None:
    without_rows = {name.casefold() for name in emptied}  # SQLite's names ignore case
    for table in filled:
        for column, parent in list_references(connection, table):
            query = f"SELECT 1 FROM {quote_name(table)} WHERE {quote_name(column)} IS NOT NULL LIMIT 1"
            if parent.casefold() in without_rows and connection.execute(query).fetchone():
                raise UsageError(
                    f"exclude_tables of the database {alias!r} leaves out the rows of {parent}, but rows of {table} "
                    f"refer to them by {table}.{column}: restored, they would break that foreign key. "
                    f"Exclude {table} too, or keep {parent}."
                )
