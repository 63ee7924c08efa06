"""The databases of one vendor as the tests use them, filled with authors and books."""

from __future__ import annotations

import itertools
import os
from abc import ABC, abstractmethod
from typing import Any

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

    def fill(self) -> None:
        self.run(*FILL)

    def count(self, table: str, alias: str = "default") -> int:
        number: int = self.run(f"SELECT count(*) FROM {table}", alias=alias)[0][0]
        return number


_numbers = itertools.count(1)


def new_suffix() -> str:
    """The end of names that no other test gives on a server which the workers share."""
    return f"{os.environ.get('PYTEST_XDIST_WORKER', 'gw')}_{next(_numbers)}"


def rows(manifest: Manifest) -> dict[str, int]:
    """Rows per table, named without the schema."""
    return {table.name.rpartition(".")[2]: table.rows for table in manifest.tables}
