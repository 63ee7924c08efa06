"""psql, fed piece by piece: one transaction that ends by our word, or is rolled back with our end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.connect import (
    connection_settings,
    connection_string,
    environment,
    refused,
)
from django_cfg.backup.engines.postgresql.schema import literal, quoted
from django_cfg.backup.engines.postgresql.tools import Tools
from django_cfg.backup.errors import BackupError, IntegrityError, ToolFailed
from django_cfg.backup.pipeline.process import Child

_SIGN = b"django-cfg-backup: "
# The query is handed over as a text, so that nothing in it can end the transaction that asks it.
_ASK = """
SAVEPOINT django_cfg_ask;
SET LOCAL transaction_read_only = on;
DO $django_cfg_ask$
DECLARE
    answer text;
BEGIN
    EXECUTE %QUERY% INTO answer;
    PERFORM set_config('django_cfg.answer', coalesce(answer, ''), true);
END $django_cfg_ask$;
\\o
SELECT current_setting('django_cfg.answer');
\\o /dev/null
ROLLBACK TO SAVEPOINT django_cfg_ask;
"""


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

    def ask(self, query: str) -> object:
        """The first value *query* gives within the transaction, which it cannot change.

        :raises IntegrityError: it fails, and psql with it.
        """
        first_row = f"SELECT row_to_json(django_cfg_row)::text FROM ({query.strip().rstrip(';')}\n) AS django_cfg_row"
        self.send("SET client_encoding = 'UTF8';\n" + _ASK.replace("%QUERY%", literal(f"{first_row} LIMIT 1")))
        try:
            answer = self._line()
            if not answer:
                self.wait_for("asked")
                return None
        except BackupError as error:
            raise IntegrityError(f"The verification query {query!r} fails on the restored data: {error}") from error
        return json.loads(answer, object_pairs_hook=lambda pairs: pairs)[0][1]

    def commit(self) -> None:
        self.send("COMMIT;\n")
        self.wait_for("committed")
        self._child.stdin.close()
        self._child.wait()

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
    """psql on *database*, with nothing sent yet; leaving the block before ``commit`` rolls all back."""
    settings = connection_settings(database)
    argv = [tools.path("psql"), "--no-psqlrc", "--quiet", "--no-password", "--tuples-only", "--no-align",
            "--output=/dev/null", "--set=ON_ERROR_STOP=1", f"--dbname={connection_string(settings)}"]  # fmt: skip
    with Child(argv, env=environment(settings), feed=True) as child:
        yield Psql(child, database)
