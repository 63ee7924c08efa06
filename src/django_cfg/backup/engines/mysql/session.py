"""A connection of our own, and what is asked of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Session:
    """An open connection in autocommit, and which server it leads to."""

    connection: Any  # of Django's driver
    vendor: str  # "mysql" or "mariadb"
    version: str  # as "10.11.19"
    database: str

    @property
    def server(self) -> str:
        """For messages."""
        return f"{'MariaDB' if self.is_mariadb else 'MySQL'} {self.version}"

    @property
    def is_mariadb(self) -> bool:
        return self.vendor == "mariadb"

    @property
    def is_encrypted(self) -> bool:
        return bool(self.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1])

    @property
    def is_over_tcp(self) -> bool:
        return "UNIX" not in str(self.connection.get_host_info())

    def rows(self, query: str, values: Sequence[object] = ()) -> list[Row]:
        cursor = self.connection.cursor()
        try:
            cursor.execute(query, values) if values else cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def value(self, query: str, values: Sequence[object] = ()) -> Any:
        return self.rows(query, values)[0][0]

    def change(self, query: str, values: Sequence[object]) -> None:
        """Run one statement with *values* in it."""
        cursor = self.connection.cursor()
        try:
            cursor.execute(query, values)
        finally:
            cursor.close()

    def execute(self, *statements: str | bytes) -> None:
        """Run *statements*; bytes go to the server as they are."""
        cursor = self.connection.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.close()


def quoted(*names: str) -> str:
    """A name as SQL writes it, behind its schema if that is given too."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def named(*names: str) -> str:
    """Likewise, for a query with values in it, where drivers take a percent sign for theirs."""
    return quoted(*names).replace("%", "%%")


def literal(text: str) -> str:
    """Text as SQL writes it in our sessions, whose mode lets a backslash escape."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def plain_version(info: str) -> str:
    """ "10.11.19" of "5.5.5-10.11.19-MariaDB-0+deb12u1-log"."""
    found = re.search(r"\d+\.\d+(\.\d+)?", info.removeprefix("5.5.5-"))
    return found[0] if found else info
