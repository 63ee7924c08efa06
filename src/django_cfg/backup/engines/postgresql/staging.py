"""The restore beside the target: into a scratch database, checked there, then both are renamed at once.

The target serves the site until the last moment, and is kept under another name afterwards. Killed at any
moment, the server has either the old database under its name or the new one; a scratch that was left is
recognised by its name and owner and removed by the next restore. The target is never closed to connections by
ALLOW_CONNECTIONS: killed then, it would stay closed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django_cfg.backup.engines.base import Database, Restoration, RestoreOptions, SwitchResult
from django_cfg.backup.engines.postgresql import database_properties, lock, names, schema
from django_cfg.backup.engines.postgresql.connection import connected, connection_settings, explaining_restore
from django_cfg.backup.engines.postgresql.error_text import spoken, sqlstate
from django_cfg.backup.engines.postgresql.missing_roles import LeftOut, naming
from django_cfg.backup.engines.postgresql.pg_restore import OpenedArchive
from django_cfg.backup.engines.postgresql.psql_session import psql
from django_cfg.backup.engines.postgresql.staging_databases import discard, sweep_under_lock
from django_cfg.backup.engines.postgresql.switch import rehearse, swap
from django_cfg.backup.engines.postgresql.target import Target, named
from django_cfg.backup.engines.postgresql.tools import Tools
from django_cfg.backup.engines.postgresql.verification_query import ANSWER, asking, first_value
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.errors import BackupError, VerificationFailed
from django_cfg.backup.manifest import Characters, Manifest
from django_cfg.backup.pipeline.stream import Readable

_UNKNOWN_CHARACTERS = {"0A000", "22023", "42601", "42704", "42809"}  # an encoding, a locale or a provider
_SINCE_TRANSACTION_TIMEOUT = 17  # pg_restore of this version sets what older servers do not know


@contextmanager
def restoring_beside(
    database: Database, manifest: Manifest, target: Target, tools: Tools, door: Database, options: RestoreOptions
) -> Iterator[Restoration]:
    """A scratch for *database*, made and still empty; it is gone at the end, as the target or altogether."""
    with connected(door) as connection, tempfile.TemporaryDirectory() as folder:
        with explaining_restore(database):
            schema.execute(connection, schema.NO_TIMEOUTS)
            lock.take(connection, target.name, database.alias)
            sweep_under_lock(connection, target.name)
            name = _free_name(connection, target.name, "restoring")
        try:
            with explaining_restore(database):
                advice = _create(connection, name, target, database.alias, manifest)
            yield Scratch(database, manifest, target, tools, door, options, name, Path(folder), advice)
        finally:
            discard(door, name)


class Scratch(Restoration):
    def __init__(
        self,
        database: Database,
        manifest: Manifest,
        target: Target,
        tools: Tools,
        door: Database,
        options: RestoreOptions,
        name: str,
        folder: Path,
        advice: str,
    ) -> None:
        self._database, self._manifest, self._target = database, manifest, target
        self._tools, self._door, self._options = tools, door, options
        self._name, self._folder, self._advice = name, folder, advice
        self._scratch = named(database, name)
        self._left_out = LeftOut()

    @property
    def staging_settings(self) -> Mapping[str, Any]:
        return connection_settings(self._scratch)

    @property
    def tool(self) -> tuple[str, str]:
        return "pg_restore", self._tools.version

    def load(self, plain: Readable) -> None:
        archive = OpenedArchive(plain, self._tools)
        self._left_out = naming(self._target.missing_roles, archive)
        choice = self._target.choice(archive.contents.without(self._left_out.lines))
        if self._tools.major <= self._target.server or self._tools.major < _SINCE_TRANSACTION_TIMEOUT:
            archive.load_into(self._scratch, choice, self._folder)
            return
        with psql(self._scratch, self._tools) as session:
            session.begin()
            archive.write_script(choice, self._folder, self._target.server, session.send)
            session.commit()

    def check(self, manifest: Manifest) -> None:
        with connected(self._scratch) as connection, explaining_restore(self._database):
            schema.execute(connection, "SET row_security = off", schema.NO_TIMEOUTS)
            found = schema.tables(connection)
            compare_tables(manifest.tables, schema.count_rows(connection, found), manifest.name)

    def fetch_value(self, query: str) -> object:
        with connected(self._scratch) as connection:
            try:
                schema.execute(connection, "BEGIN", schema.NO_TIMEOUTS_NOW, asking(query))
                return first_value(schema.rows(connection, ANSWER)[0][0])
            except Exception as error:  # noqa: BLE001  psycopg 2 and 3 share no class but Exception
                raise VerificationFailed(
                    f"The verification query {query!r} fails on the restored data: {spoken(str(error))}. "
                    f"The database {self._database.alias!r} was not touched."
                ) from None  # the driver's own words may quote a row

    def switch(self) -> SwitchResult:
        target = self._target
        with connected(self._door) as connection:
            aside = _free_name(connection, target.name, "before") if target.exists else None
        swap(self._door, self._name, target.name, aside, disconnect=self._options.disconnect)
        advice = f"{self._advice} {target.advice(self._manifest, self._left_out.told)}".strip()
        if aside and self._options.discard_old:
            return self._without(aside, advice)
        return SwitchResult(aside and f"the database {aside}", advice)

    def _without(self, aside: str, advice: str) -> SwitchResult:
        try:
            with connected(self._door) as connection:
                schema.execute(
                    connection,
                    schema.NO_TIMEOUTS,
                    f"ALTER DATABASE {schema.quoted(aside)} IS_TEMPLATE false",
                    f"DROP DATABASE {schema.quoted(aside)} WITH (FORCE)",
                )
        except BackupError as error:
            return SwitchResult(f"the database {aside}", f"It could not be dropped: {error} {advice}".rstrip())
        return SwitchResult(None, advice)


def _create(connection: Any, name: str, target: Target, alias: str, manifest: Manifest) -> str:
    """Make the scratch; what is to be told of it."""
    if not target.exists:
        return _create_lost(connection, name, target, manifest.engine.characters)
    schema.execute(connection, database_properties.create_statement(connection, name, target.name))
    rehearse(connection, name, target.name, alias)
    return ""


def _create_lost(connection: Any, name: str, target: Target, characters: Characters | None) -> str:
    try:
        schema.execute(connection, database_properties.create_lost_statement(name, characters, target.server))
    except Exception as error:  # psycopg 2 and 3 share no class but Exception
        if characters is None or sqlstate(error) not in _UNKNOWN_CHARACTERS:
            raise
        schema.execute(connection, database_properties.create_lost_statement(name, None, target.server))
        return (
            "The database was made with this server's own encoding and collation, since it does not know those of the "
            f"backup: {spoken(str(error))}. Text may be ordered otherwise."
        )
    return ""


def _free_name(connection: Any, target: str, purpose: names.Purpose) -> str:
    taken = {name for (name,) in schema.rows(connection, "SELECT datname FROM pg_database")}
    return names.free(target, purpose, taken)
