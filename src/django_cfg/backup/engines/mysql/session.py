"""A session on a server: what it can be asked, and the other sessions that use the same database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

Row = tuple[Any, ...]

# Without the privilege PROCESS the server lists only the user's own sessions.
_OTHER_SESSIONS = """
SELECT id, user, host FROM information_schema.processlist
WHERE db = %s AND id <> CONNECTION_ID() AND command <> 'Daemon' ORDER BY id
"""


@dataclass(frozen=True)
class Session:
    """A connection in autocommit mode, and the server and database that it leads to."""

    connection: Any  # of Django's driver
    vendor: str  # "mysql" or "mariadb"
    version: str  # as "10.11.19"
    database: str
    alias: str  # of the database in settings.DATABASES, for messages

    @property
    def server(self) -> str:
        """Product and version, for messages."""
        return f"{'MariaDB' if self.is_mariadb else 'MySQL'} {self.version}"

    @property
    def is_mariadb(self) -> bool:
        return self.vendor == "mariadb"

    @property
    def is_galera(self) -> bool:
        """Whether the server is a node of a cluster, whose nodes all wait while one alters a table."""
        return ("wsrep_on", "ON") in self.fetch_text("SHOW SESSION VARIABLES LIKE 'wsrep_on'")

    @property
    def is_encrypted(self) -> bool:
        return bool(self.fetch_rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1])

    @property
    def is_over_tcp(self) -> bool:
        return "UNIX" not in str(self.connection.get_host_info())

    def fetch_rows(self, query: str, values: Sequence[object] = ()) -> list[Row]:
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(query, values) if values else cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]

    def fetch_text(self, query: str, values: Sequence[object] = ()) -> list[Row]:
        """Fetch rows of names and definitions, which some drivers return as bytes."""
        rows = self.fetch_rows(query, values)
        return [tuple(value.decode() if isinstance(value, bytes) else value for value in row) for row in rows]

    def fetch_value(self, query: str, values: Sequence[object] = ()) -> Any:
        return self.fetch_rows(query, values)[0][0]

    def execute(self, *statements: str | bytes, values: Sequence[object] = ()) -> None:
        """Execute *statements*; bytes are sent to the server as they are."""
        for statement in statements:
            self._run(statement, values)

    def _run(self, statement: str | bytes, values: Sequence[object]) -> None:
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(statement, values) if values else cursor.execute(statement)


def list_other_sessions(session: Session) -> list[str]:
    """Return the other sessions that use the database, each as "id 7: user from host"."""
    found = session.fetch_rows(_OTHER_SESSIONS, [session.database])
    return [f"id {number}: {user} from {host}" for number, user, host in found]


def end_other_sessions(session: Session, schema: str = "") -> None:
    """End the other sessions that use the database, or *schema*."""
    for number, _, _ in session.fetch_rows(_OTHER_SESSIONS, [schema or session.database]):
        with suppress(Exception):  # it has ended already; or the privilege is missing, and its locks will be reported
            session.execute(f"KILL {int(number)}")


def get_max_packet(session: Session) -> int:
    """Return the bytes of the largest statement that the server takes from a new session."""
    return int(session.fetch_value("SELECT @@GLOBAL.max_allowed_packet"))


def raise_max_packet(size: int) -> str:
    """Return the statement by which the server takes statements of *size* bytes: a multiple of 1024, at most 1 GiB."""
    return f"SET GLOBAL max_allowed_packet = {min((size // 1024 + 1) * 1024, 1 << 30)}"


def quote_name(*names: str) -> str:
    """Quote a name, qualified by its schema if both are given."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def quote_name_with_values(*names: str) -> str:
    """Quote a name for a statement with values, in which drivers take a percent sign for a placeholder."""
    return quote_name(*names).replace("%", "%%")


def quote_literal(text: str) -> str:
    """Quote a string for our sessions, in whose SQL mode a backslash escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def escape_like(text: str) -> str:
    """Escape *text* for a pattern of LIKE, or for the schema of a GRANT."""
    return re.sub(r"([\\%_])", r"\\\1", text)


def parse_version(info: str) -> str:
    """Return "10.11.19" of "5.5.5-10.11.19-MariaDB-0+deb12u1-log"."""
    found = re.search(r"\d+\.\d+(\.\d+)?", info.removeprefix("5.5.5-"))
    return found[0] if found else info
