"""The restore in place: one transaction that drops, restores, counts, and only then commits.

psql is fed the script that pg_restore makes of the archive. It stops at the first error, and as long as
it has not been told to commit, its end - ours too, by kill -9 - leaves the database as it was. Readers
wait for the transaction's locks or see the old state; nobody sees a mixture.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import NoReturn

from django_cfg.backup.engines.base import Database, Restoration, Switched
from django_cfg.backup.engines.postgresql import schema
from django_cfg.backup.engines.postgresql.clear import CLEAR
from django_cfg.backup.engines.postgresql.connect import (
    connected,
    connection_settings,
    connection_string,
    environment,
    refused,
)
from django_cfg.backup.engines.postgresql.tools import Tools, choose, major
from django_cfg.backup.errors import IntegrityError, ToolFailed
from django_cfg.backup.manifest import Manifest, Table
from django_cfg.backup.pipeline.process import Child, Feeder
from django_cfg.backup.pipeline.stream import BLOCK, Readable, blocks

# Entries that only an extension's owner may restore; CREATE EXTENSION itself passes where it exists.
_FOREIGN_ENTRIES = re.compile(r"^\d+; \d+ \d+ COMMENT - EXTENSION ", re.MULTILINE)
_PUBLIC_SCHEMA = re.compile(r"^\d+; \d+ \d+ SCHEMA - public ", re.MULTILINE)
_CHECKED, _COMMITTED = b"django-cfg-backup: checked", b"django-cfg-backup: committed"

_HEAD = 1 << 16  # bytes at a time while the table of contents is read


@contextmanager
def restoring(database: Database, manifest: Manifest) -> Iterator[Restoration]:
    """A restore of *database* in place, prepared and not begun."""
    with connected(database) as connection:
        server = major(schema.server_version(connection))
        superuser = schema.rows(connection, "SHOW is_superuser")[0][0] == "on"
        missing = schema.missing_roles(connection, manifest.engine.roles)
    wanted = max(server, major(manifest.engine.tool_version))
    tools = choose(wanted, database.tools_dir, f"To restore the database {database.alias!r}")
    settings = connection_settings(database)
    argv = [tools.path("psql"), "--no-psqlrc", "--quiet", "--no-password", "--output=/dev/null",
            "--set=ON_ERROR_STOP=1", f"--dbname={connection_string(settings)}"]  # fmt: skip
    with Child(argv, env=environment(settings), feed=True) as psql, tempfile.TemporaryDirectory() as folder:
        yield InPlace(database, tools, psql, Path(folder), superuser=superuser, missing_roles=missing)


class InPlace(Restoration):
    def __init__(
        self,
        database: Database,
        tools: Tools,
        psql: Child,
        folder: Path,
        *,
        superuser: bool,
        missing_roles: Sequence[str],
    ) -> None:
        self._database = database
        self._tools = tools
        self._psql = psql
        self._folder = folder
        self._superuser = superuser
        self._missing_roles = missing_roles

    def load(self, plain: Readable) -> None:
        head, contents = self._contents(plain)
        self._send(self._preamble(contents))
        argv = [self._tools.path("pg_restore"), "--file=-", *self._choices(contents)]
        with Feeder(chain(head, blocks(plain)), to_the_end=True) as feeder, Child(argv, feed=True) as script:
            feeder.start(script.stdin)
            while block := script.stdout.read(BLOCK):
                self._send(block)
            self._wait(script)

    def check(self, manifest: Manifest) -> None:
        self._send(_count_check(manifest.tables))
        self._expect(_CHECKED)

    def switch(self) -> Switched:
        self._send(b"COMMIT;\n")
        self._expect(_COMMITTED)
        self._psql.stdin.close()
        self._psql.wait()
        return Switched(None, self._advice())

    def _contents(self, plain: Readable) -> tuple[list[bytes], str]:
        """The archive's table of contents, and the bytes that were read for it."""
        read: list[bytes] = []
        argv = [self._tools.path("pg_restore"), "--list"]
        with Feeder(_recorded(plain, read), to_the_end=False) as feeder, Child(argv, feed=True) as lister:
            feeder.start(lister.stdin)
            contents = lister.stdout.read().decode()
            self._wait(lister)
        return read, contents

    def _preamble(self, contents: str) -> bytes:
        role = connection_settings(self._database).get("OPTIONS", {}).get("assume_role")
        statements = [
            "BEGIN;",
            *([f"SET LOCAL ROLE {schema.quoted(role)};"] if role else []),
            f"SET LOCAL lock_timeout = '{self._database.lock_timeout}s';",
            "SET LOCAL client_min_messages = warning;",
            CLEAR,
            *(["DROP SCHEMA public;"] if _PUBLIC_SCHEMA.search(contents) else []),
        ]
        return "\n".join(statements).encode() + b"\n"

    def _choices(self, contents: str) -> list[str]:
        """What of the archive is left out: owners where their roles are missing, and what we may not restore."""
        choices = ["--no-subscriptions"]
        if self._missing_roles:
            choices += ["--no-owner", "--no-privileges"]
        elif not self._superuser:
            choices += ["--no-owner"]
        if not self._superuser:
            chosen = self._folder / "contents"
            chosen.write_text("\n".join(line for line in contents.splitlines() if not _FOREIGN_ENTRIES.match(line)))
            choices.append(f"--use-list={chosen}")
        return choices

    def _send(self, block: bytes) -> None:
        try:
            self._psql.stdin.write(block)
            self._psql.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def _expect(self, marker: bytes) -> None:
        r"""Wait until psql has carried out all it was sent; it says so itself, by ``\echo``."""
        self._send(b"\\echo " + marker + b"\n")
        if self._psql.stdout.readline().rstrip() != marker:
            self._fail()

    def _fail(self) -> NoReturn:
        with suppress(BrokenPipeError):
            self._psql.stdin.close()
        try:
            self._psql.wait()
        except ToolFailed as error:
            raise refused(self._database, error) from error
        raise refused(self._database, ToolFailed("psql", 0, "it ended before its work was done"))

    def _wait(self, child: Child) -> None:
        try:
            child.wait()
        except ToolFailed as error:
            raise IntegrityError(f"The archive is not whole: {error}. The database was not touched.") from error

    def _advice(self) -> str:
        if not self._missing_roles:
            return ""
        return (
            f"The roles {', '.join(self._missing_roles)} do not exist on this server, so everything was restored "
            "without owners and privileges: it belongs to the role that restored it. Create them, then "
            "GRANT what they need."
        )


def _recorded(plain: Readable, record: list[bytes]) -> Iterator[bytes]:
    while block := plain.read(_HEAD):
        record.append(block)
        yield block


def _count_check(tables: Sequence[Table]) -> bytes:
    """SQL that raises unless exactly *tables* are there, with as many rows as the manifest tells."""
    expected = ", ".join(
        f"({_literal(table.name)}, {table.rows}::bigint, {str(table.exact).lower()})" for table in tables
    )
    return _COUNT_CHECK.replace("%EXPECTED%", expected).encode()


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_COUNT_CHECK = r"""
SET LOCAL row_security = off;
DO $check$
DECLARE
    item record;
    found bigint;
    differences text[] := '{}';
BEGIN
    CREATE TEMP TABLE check_expected ON COMMIT DROP AS
        SELECT * FROM (VALUES %EXPECTED%) AS expected (name, expected_rows, exact);
    CREATE TEMP TABLE check_found ON COMMIT DROP AS
        SELECT c.oid, n.nspname || '.' || c.relname AS name, n.nspname, c.relname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence <> 't'
        AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
        AND NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
    FOR item IN SELECT e.name AS wanted, f.name, nspname, relname, expected_rows, exact
        FROM check_expected e FULL JOIN check_found f ON f.name = e.name ORDER BY 1, 2
    LOOP
        IF item.name IS NULL THEN
            differences := differences || (item.wanted || ' is missing');
        ELSIF item.wanted IS NULL THEN
            differences := differences || (item.name || ' is not in the manifest');
        ELSIF item.exact THEN
            EXECUTE format('SELECT count(*) FROM ONLY %I.%I', item.nspname, item.relname) INTO found;
            IF found <> item.expected_rows THEN
                differences := differences
                    || format('%s has %s rows instead of %s', item.name, found, item.expected_rows);
            END IF;
        END IF;
    END LOOP;
    IF differences <> '{}' THEN
        RAISE EXCEPTION 'django-cfg-backup: %', array_to_string(differences[1:20], ', ');
    END IF;
    DROP TABLE check_expected, check_found;
END $check$;
"""
