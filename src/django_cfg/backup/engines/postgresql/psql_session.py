"""psql, fed piece by piece: one transaction that ends by our word, or is rolled back with our end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.connection import (
    connection_settings,
    program_settings,
    refused,
)
from django_cfg.backup.engines.postgresql.error_text import program
from django_cfg.backup.engines.postgresql.libpq import connection_string
from django_cfg.backup.engines.postgresql.outcome import is_committed
from django_cfg.backup.engines.postgresql.schema import NO_TIMEOUTS, quoted
from django_cfg.backup.engines.postgresql.tools import Tools
from django_cfg.backup.engines.postgresql.verification_query import ANSWER, asking, first_value
from django_cfg.backup.errors import BackupError, ToolFailed, VerificationFailed
from django_cfg.backup.process.child import Child

_SIGN = b"django-cfg-backup: "


class Psql:
    """It stops at the first error. Until it has carried out a COMMIT, its end leaves the database as it was."""

    def __init__(self, child: Child, database: Database) -> None:
        self._child = child
        self._database = database

    def begin(self) -> None:
        """Open the transaction, as the role the settings name."""
        role = connection_settings(self._database).get("OPTIONS", {}).get("assume_role")
        self.send("SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\nBEGIN;\n")
        self.send(f"SET LOCAL ROLE {quoted(role)};\n" if role else "")
        self.send(
            f"SET LOCAL lock_timeout = '{self._database.lock_timeout}s';\nSET LOCAL client_min_messages = error;\n"
        )

    def send(self, script: bytes | str) -> None:
        try:
            self._child.stdin.write(script.encode() if isinstance(script, str) else script)
            self._child.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def wait_for(self, step: str) -> None:
        r"""Wait until all it was sent has been carried out; it says so itself, by ``\echo``."""
        marker = _SIGN + step.encode()
        self.send(b"\\echo " + marker + b"\n")
        if self._line() != marker:
            self._fail()

    def fetch_value(self, query: str) -> object:
        """The first value *query* gives within the transaction, which it cannot change.

        :raises VerificationFailed: it fails, and psql with it.
        """
        try:
            self.send(f"SAVEPOINT django_cfg_ask;\nSET LOCAL client_encoding = 'UTF8';\n{asking(query)}")
            self.send(f"\\o\n{ANSWER};\n\\o /dev/null\nROLLBACK TO SAVEPOINT django_cfg_ask;\n")
            answer = self._line()
            self.wait_for("asked")
        except BackupError as error:
            raise VerificationFailed(f"The verification query {query!r} fails on the restored data: {error}") from error
        return first_value(answer)

    def commit(self) -> None:
        """
        :raises BackupError: the server did not commit, or it is not known, as the message says then.
        """
        transaction = self._value("SELECT txid_current()")
        try:
            self.send("COMMIT;\n")
            self.wait_for("committed")
        except BackupError as error:
            if not is_committed(self._database, int(transaction), error):
                raise
            return
        self._child.stdin.close()
        self._child.wait()

    def _value(self, query: str) -> bytes:
        self.send(f"\\o\n{query};\n\\o /dev/null\n")
        return self._line()

    def _line(self) -> bytes:
        line = self._child.stdout.readline()
        if not line:
            self._fail()
        return line.rstrip()

    def _fail(self) -> NoReturn:
        with suppress(BrokenPipeError):
            self._child.stdin.close()
        try:
            self._child.wait()
        except ToolFailed as error:
            raise refused(self._database, error) from error
        raise refused(self._database, ToolFailed("psql", 0, "it ended before its work was done"))


@contextmanager
def psql(database: Database, tools: Tools) -> Iterator[Psql]:
    """psql on *database*, with nothing begun yet; leaving the block before ``commit`` rolls all back."""
    settings = program_settings(database)
    argv = [tools.path("psql"), "--no-psqlrc", "--quiet", "--no-password", "--tuples-only", "--no-align",
            "--output=/dev/null", "--set=ON_ERROR_STOP=1", f"--dbname={connection_string(settings)}"]  # fmt: skip
    with program(argv, settings=settings, feed=True) as child:
        session = Psql(child, database)
        session.send(NO_TIMEOUTS)
        yield session
