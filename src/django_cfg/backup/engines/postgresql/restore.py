"""The restore in place: one transaction that drops, restores, counts, and only then commits.

psql is fed the script that pg_restore makes of the archive. It stops at the first error, and as long as
it has not been told to commit, its end - ours too, by kill -9 - leaves the database as it was. Readers
wait for the transaction's locks or see the old state; nobody sees a mixture.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
from django_cfg.backup.engines.postgresql.recount import recount
from django_cfg.backup.engines.postgresql.script import Contents, body
from django_cfg.backup.engines.postgresql.tools import Tools, choose, major
from django_cfg.backup.errors import IntegrityError, ToolFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.process import Child, Feeder
from django_cfg.backup.pipeline.stream import Readable, blocks

_CHECKED, _COMMITTED = b"django-cfg-backup: checked", b"django-cfg-backup: committed"

_HEAD = 1 << 16  # bytes at a time while the table of contents is read


@dataclass(frozen=True)
class Target:
    """What was found where the backup shall go."""

    server: int  # major version
    user: str
    superuser: bool
    missing_roles: Sequence[str]  # that the backup names
    staying_schemas: Sequence[str]  # that hold parts of extensions


@contextmanager
def restoring(database: Database, manifest: Manifest) -> Iterator[Restoration]:
    """A restore of *database* in place, prepared and not begun."""
    with connected(database) as connection:
        user, superuser = schema.rows(connection, "SELECT current_user, current_setting('is_superuser') = 'on'")[0]
        missing = schema.missing_roles(connection, manifest.engine.roles)
        server = major(schema.server_version(connection))
        target = Target(server, user, superuser, missing, schema.extension_schemas(connection))
    wanted = max(server, major(manifest.engine.tool_version))
    tools = choose(wanted, database.tools_dir, f"To restore the database {database.alias!r}")
    settings = connection_settings(database)
    argv = [tools.path("psql"), "--no-psqlrc", "--quiet", "--no-password", "--output=/dev/null",
            "--set=ON_ERROR_STOP=1", f"--dbname={connection_string(settings)}"]  # fmt: skip
    with Child(argv, env=environment(settings), feed=True) as psql, tempfile.TemporaryDirectory() as folder:
        yield InPlace(database, manifest, tools, psql, Path(folder), target)


class InPlace(Restoration):
    def __init__(
        self, database: Database, manifest: Manifest, tools: Tools, psql: Child, folder: Path, target: Target
    ) -> None:
        self._database = database
        self._manifest = manifest
        self._tools = tools
        self._psql = psql
        self._folder = folder
        self._target = target

    def load(self, plain: Readable) -> None:
        head, contents = self._contents(plain)
        self._send(self._preamble().encode())
        argv = [self._tools.path("pg_restore"), "--file=-", "--single-transaction", *self._choices(contents)]
        with Feeder(chain(head, blocks(plain)), to_the_end=True) as feeder, Child(argv, feed=True) as script:
            feeder.start(script.stdin)
            try:
                for block in body(blocks(script.stdout), self._target.server):
                    self._send(block)
            except IntegrityError:
                self._wait(script)  # its own words say more
                raise
            self._wait(script)

    def check(self, manifest: Manifest) -> None:
        self._send(recount(manifest.tables).encode())
        self._expect(_CHECKED)

    def switch(self) -> Switched:
        self._send(b"COMMIT;\n")
        self._expect(_COMMITTED)
        self._psql.stdin.close()
        self._psql.wait()
        return Switched(None, self._advice())

    def _contents(self, plain: Readable) -> tuple[list[bytes], Contents]:
        """The archive's table of contents, and the bytes that were read for it."""
        read: list[bytes] = []
        argv = [self._tools.path("pg_restore"), "--list"]
        with Feeder(_recorded(plain, read), to_the_end=False) as feeder, Child(argv, feed=True) as lister:
            feeder.start(lister.stdin)
            listed = lister.stdout.read()
            self._wait(lister)
        return read, Contents(listed)

    def _preamble(self) -> str:
        role = connection_settings(self._database).get("OPTIONS", {}).get("assume_role")
        return "\n".join(
            [
                "SET client_encoding = 'UTF8';",
                "SET standard_conforming_strings = on;",
                "BEGIN;",
                *([f"SET LOCAL ROLE {schema.quoted(role)};"] if role else []),
                f"SET LOCAL lock_timeout = '{self._database.lock_timeout}s';",
                "SET LOCAL client_min_messages = error;",
                *([CLEAR] if not self._manifest.partial else self._schemas()),
                "",
            ]
        )

    def _schemas(self) -> list[str]:
        """A partial backup holds tables and no schemas; its database is empty, but may hold types that it needs."""
        names = dict.fromkeys(table.name.partition(".")[0] for table in self._manifest.tables)
        return [f"CREATE SCHEMA IF NOT EXISTS {schema.quoted(name)};" for name in names]

    def _choices(self, contents: Contents) -> list[str]:
        """What of the archive is left out: owners where their roles are missing, and what we may not restore."""
        target = self._target
        choices = ["--no-subscriptions"]
        if target.missing_roles:
            choices += ["--no-owner", "--no-privileges"]
        elif not target.superuser:
            choices += ["--no-owner"]
        kept = contents.without_schemas(target.staying_schemas).event_triggers_last()
        if not target.superuser:
            kept = kept.without_extension_comments()
        if kept != contents:
            chosen = self._folder / "contents"
            chosen.write_bytes(kept.listed)
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
        target = self._target
        if target.missing_roles:
            return (
                f"The roles {', '.join(target.missing_roles)} do not exist on this server, so everything was restored "
                f"without owners and privileges: it belongs to {target.user}, who restored it. Create them, then "
                "GRANT what they need."
            )
        if not target.superuser and set(self._manifest.engine.roles) - {target.user}:
            return f"{target.user} is no superuser, so all that was restored belongs to it, whoever owned it before."
        return ""


def _recorded(plain: Readable, record: list[bytes]) -> Iterator[bytes]:
    while block := plain.read(_HEAD):
        record.append(block)
        yield block
