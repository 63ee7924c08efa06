"""The databases of one vendor as the tests use them, filled with authors and books."""

from __future__ import annotations

import itertools
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest

from django_cfg.backup.manifest import Manifest
from tests.support.django_project import Site

AUTHORS, BOOKS = 50, 200
FILL = (
    "CREATE TABLE author (id integer PRIMARY KEY, name varchar(100) NOT NULL)",
    "CREATE TABLE book (id integer PRIMARY KEY, title varchar(100) NOT NULL, author_id integer REFERENCES author (id))",
    "INSERT INTO author VALUES " + ", ".join(f"({i}, 'Author {i}')" for i in range(1, AUTHORS + 1)),
    "INSERT INTO book VALUES " + ", ".join(f"({i}, 'Book {i}', {1 + i % AUTHORS})" for i in range(1, BOOKS + 1)),
)


class Server(ABC):
    """One vendor's databases, as the tests use them. Two aliases: ``default`` (filled) and ``empty``."""

    quote = '"'
    odd = "Ödd name's 50% \U0001f4da;"  # as odd as a table's name may be there

    def __init__(self, site: Site) -> None:
        self.site = site

    @abstractmethod
    def run(self, *statements: str, alias: str = "default") -> list[tuple[Any, ...]]:
        """Run *statements* in one transaction, committed; the rows of the last one."""

    @abstractmethod
    def table_names(self, alias: str = "default") -> list[str]:
        """All tables, as the manifest names them, sorted."""

    @abstractmethod
    def use(self, **changes: Any) -> None:
        """Let the project's settings of both databases be the usual ones, but for *changes*."""

    @abstractmethod
    def text(self, alias: str = "default") -> list[str]:
        """Everything in the database, as text."""

    @abstractmethod
    def leftovers(self) -> list[str]:
        """What restores into ``default`` have left next to it: data that they loaded, or set aside."""

    def stored(self) -> list[str]:
        return self.site.stored() if self.site.backups.exists() else []

    def fill(self) -> None:
        self.run(*FILL)

    def count(self, table: str, alias: str = "default") -> int:
        number: int = self.run(f"SELECT count(*) FROM {table}", alias=alias)[0][0]
        return number


class DatabaseServer(Server):
    """The databases of a vendor with a server, to which this package's child processes connect."""

    server: Any  # the process: PostgreSQL or MariaDB
    databases: dict[str, str]  # alias: name
    dump_program: str
    restore_program: str
    many_books: str  # a statement: so many that dump and restore take a moment

    @abstractmethod
    def locked(self, table: str) -> AbstractContextManager[None]:
        """A block during which another session holds a lock that nothing gets past."""

    @abstractmethod
    def connected(self) -> AbstractContextManager[int]:
        """A block during which another session is connected and idle; the number by which the server knows it."""

    @abstractmethod
    def kill(self) -> None:
        """Stop the server at once, whatever it is doing."""

    @abstractmethod
    def superuser(self, name: str, password: str) -> str:
        """Make a user who may do everything; its name, which begins so."""


_numbers = itertools.count(1)


def new_suffix() -> str:
    """The end of names that no other test gives on a server which the workers share."""
    return f"{os.environ.get('PYTEST_XDIST_WORKER', 'gw')}_{next(_numbers)}"


def rows(manifest: Manifest) -> dict[str, int]:
    """Rows per table, named without the schema."""
    return {table.name.rpartition(".")[2]: table.rows for table in manifest.tables}


def fail_unless_equal(before: Sequence[str], after: Sequence[str]) -> None:
    """Compare two texts of a database by what one has and the other has not."""
    if list(before) == list(after):
        return
    lost, new = Counter(before) - Counter(after), Counter(after) - Counter(before)
    differences = "\n".join([*("- " + line for line in lost), *("+ " + line for line in new)])
    pytest.fail(differences or "the same lines in another order")
