"""psql, fed step by step: one transaction that ends with our COMMIT, or is rolled back when this process ends."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql.archive_entry import HEADING, ArchiveEntry
from django_cfg.backup.engines.postgresql.connection import connect, get_program_settings
from django_cfg.backup.engines.postgresql.error_advice import explain_tool_failure
from django_cfg.backup.engines.postgresql.libpq import build_conninfo, get_connection_settings
from django_cfg.backup.engines.postgresql.restored_data import FETCH_ANSWER, build_verification_query, parse_answer
from django_cfg.backup.engines.postgresql.schema import WRITABLE, fetch_rows, quote_name
from django_cfg.backup.engines.postgresql.tools import Tools, start_program
from django_cfg.backup.errors import BackupError, DatabaseUnavailable, RestoreFailed, ToolFailed, VerificationFailed
from django_cfg.backup.process.child import Child

_STATUS_TIMEOUT = 60  # seconds: a server that has crashed recovers first
_STATUS_PAUSE = 0.5
_HEADINGS = 50_000  # kept: more than the pipe to psql holds
_PLACE = re.compile(r"^psql:<stdin>:(\d+): ", re.MULTILINE)
_TRY = r"""SAVEPOINT django_cfg_try;
\set LAST_ERROR_SQLSTATE 00000
\set LAST_ERROR_MESSAGE ''
\set ON_ERROR_STOP 0
\set ON_ERROR_ROLLBACK %s
"""
_TRIED = r"""
\set ON_ERROR_STOP 1
\set ON_ERROR_ROLLBACK off
\echo :LAST_ERROR_SQLSTATE
\echo :LAST_ERROR_MESSAGE
"""

Find = Callable[[tuple[str, str, str]], ArchiveEntry | None]


class PsqlSession:
    """A psql that stops at the first error. Until it has run a COMMIT, its end leaves the database as it was."""

    def __init__(self, program: Child, database: Database) -> None:
        self._program = program
        self._database = database
        self._lines = 0  # sent
        self._tolerated = 0  # the last line whose error has been dealt with
        self._headings: deque[tuple[int, tuple[bytes, ...]]] = deque(maxlen=_HEADINGS)  # empty: SQL of our own
        self._find: Find | None = None

    def begin(self, find: Find) -> None:
        """Open the transaction, as the role that the settings name.

        :param find: returns the entry of a kind, a schema and a name: an error names the entry that it is about.
        """
        self._find = find
        role = get_connection_settings(self._database).get("OPTIONS", {}).get("assume_role")
        self.send("SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\nBEGIN;\n")
        self.send(f"SET LOCAL ROLE {quote_name(role)};\n" if role else "")
        self.send(
            f"SET LOCAL lock_timeout = '{self._database.lock_timeout}s';\nSET LOCAL client_min_messages = error;\n"
        )

    def send(self, script: bytes | str) -> None:
        if self._headings and self._headings[-1][1]:
            self._headings.append((self._lines, ()))
        self._write(script.encode() if isinstance(script, str) else script)

    def send_entries(self, script: bytes) -> None:
        """Send what pg_restore has made of an archive: an error then names the entry."""
        if b"Name: " in script:
            for found in HEADING.finditer(script):
                self._headings.append((self._lines + script.count(b"\n", 0, found.start()), found.groups()))
        self._write(script)

    def _write(self, data: bytes) -> None:
        self._lines += data.count(b"\n")
        try:
            self._program.stdin.write(data)
            self._program.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def wait_for(self, step: str) -> None:
        r"""Wait until psql has carried out everything it was sent, and reports the *step* by ``\echo``."""
        marker = b"django-cfg-backup: " + step.encode()
        self.send(b"\\echo " + marker + b"\n")
        if self._read_line() != marker:
            self._fail()

    def try_script(self, script: bytes, *, to_its_end: bool) -> tuple[str, str] | None:
        """Run *script*, or nothing of it if the server refuses a part; return its code and message then.

        :param to_its_end: also what follows the refused statement, so that the message is of that statement.
        """
        self.send(_TRY % ("on" if to_its_end else "off"))
        self.send_entries(script)
        self.send(_TRIED)
        marker = b"django-cfg-backup: tried"
        self.send(b"\\echo " + marker + b"\n")
        state = self._read_line().decode()
        lines: list[bytes] = []
        while (line := self._read_line()) != marker:
            lines.append(line)
        self._tolerated = self._lines
        if state == "00000":
            self.send("RELEASE SAVEPOINT django_cfg_try;\n")
            return None
        self.send("ROLLBACK TO SAVEPOINT django_cfg_try;\n")
        return state, b"\n".join(lines).decode(errors="replace").strip()

    def fetch_value(self, query: str) -> object:
        """Return the first value of *query* within the transaction, which it cannot change.

        :raises VerificationFailed: it fails, and psql with it.
        """
        try:
            self.send("SAVEPOINT django_cfg_query;\nSET LOCAL client_encoding = 'UTF8';\n")
            self.send(build_verification_query(query))
            answer = self._fetch_line(FETCH_ANSWER)
            self.send("ROLLBACK TO SAVEPOINT django_cfg_query;\n")
            self.wait_for("query")
        except BackupError as error:
            raise VerificationFailed(f"The verification query {query!r} fails on the restored data: {error}") from error
        return parse_answer(answer)

    def commit(self) -> None:
        """Commit, and wait for the server's answer.

        :raises BackupError: the server did not commit, or it is unknown whether it did, as the message then says.
        """
        transaction = int(self._fetch_line("SELECT txid_current()"))
        try:
            self.send("COMMIT;\n")
            self.wait_for("commit")
        except BackupError as error:
            if not _is_committed(self._database, transaction, error):
                raise
            return
        self._program.stdin.close()
        self._program.wait()

    def _fetch_line(self, query: str) -> bytes:
        self.send(f"\\o\n{query};\n\\o /dev/null\n")
        return self._read_line()

    def _read_line(self) -> bytes:
        line = self._program.stdout.readline()
        if not line:
            self._fail()
        return line.rstrip()

    def _fail(self) -> NoReturn:
        with suppress(BrokenPipeError):
            self._program.stdin.close()
        try:
            self._program.wait()
        except ToolFailed as failure:
            place, words = _find_error(failure.last_words, self._tolerated)
            error = ToolFailed(failure.tool, failure.tool_exit_code, words)
            raise explain_tool_failure(self._database, error, self._find_entry(place)) from error
        raise explain_tool_failure(self._database, ToolFailed("psql", 0, "it ended before its work was done"))

    def _find_entry(self, place: int) -> ArchiveEntry | None:
        """Return the entry that the line number *place* of what psql has read belongs to."""
        heading = next((heading for line, heading in reversed(self._headings) if line < place), None)
        if not heading or self._find is None:
            return None
        name, kind, schema = (part.decode(errors="replace") for part in heading)
        return self._find((kind, schema, name))


@contextmanager
def open_psql(database: Database, tools: Tools) -> Iterator[PsqlSession]:
    """Start psql on *database*; leaving the block before ``commit`` rolls everything back."""
    settings = get_program_settings(database)
    argv = [tools.path("psql"), "--no-psqlrc", "--quiet", "--no-password", "--tuples-only", "--no-align", "--file=-",
            "--output=/dev/null", "--set=ON_ERROR_STOP=1", f"--dbname={build_conninfo(settings)}"]  # fmt: skip
    with start_program(argv, settings=settings, feed=True) as program:
        session = PsqlSession(program, database)
        session.send(WRITABLE)
        yield session


def _find_error(words: str, tolerated: int) -> tuple[int, str]:
    """Return the line of the first error after the line *tolerated*, and what psql says from there on."""
    found = [place for place in _PLACE.finditer(words) if int(place[1]) > tolerated]
    if not found:
        return 0, _PLACE.sub("", words)
    return int(found[0][1]), _PLACE.sub("", words[found[0].start() :])


def _is_committed(database: Database, transaction: int, error: BackupError) -> bool:
    """Return whether *transaction* has been committed, when the connection was lost before the server said so.

    :param error: raised when the connection was lost; its cause is the program's output.
    :raises RestoreFailed: the server does not answer in time.
    """
    deadline = time.monotonic() + _STATUS_TIMEOUT
    while time.monotonic() < deadline:
        with suppress(DatabaseUnavailable), connect(database) as connection:
            ((status,),) = fetch_rows(connection, "SELECT txid_status(%s)", [transaction])
            if status in ("committed", "aborted"):
                return bool(status == "committed")
        time.sleep(_STATUS_PAUSE)
    raise RestoreFailed(
        f"The connection to the database {database.alias!r} was lost while the restore was being committed, and the "
        "server has not answered since, so it is not known whether the database is as it was or completely restored; "
        "it is one of the two. When the server is back, check the data before you restore again. "
        f"{error.__cause__ or error}"
    ) from error.__cause__
