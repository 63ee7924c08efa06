"""A restore into a staging database, checked there before the switch.

The target serves the site until the switch, and is kept under another name afterwards. If the process is killed, the
server has either the old database under its name or the new one; the next restore recognises a left staging database
by its name and owner, and drops it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from django_cfg.backup.engines.base import Database, Restoration, RestoreOptions, Survey, SwitchResult
from django_cfg.backup.engines.postgresql import database_properties, schema, staging_databases
from django_cfg.backup.engines.postgresql.archive_script import TRANSACTION_TIMEOUT_SINCE
from django_cfg.backup.engines.postgresql.connection import connect, connect_to_restore, replace_name
from django_cfg.backup.engines.postgresql.entry_selection import EntrySelection, restore_optional, select_entries
from django_cfg.backup.engines.postgresql.error_advice import explain_restore_errors
from django_cfg.backup.engines.postgresql.error_text import describe_error, get_sqlstate
from django_cfg.backup.engines.postgresql.libpq import get_connection_settings
from django_cfg.backup.engines.postgresql.load_phases import RowSource, build_on_rows, load_in_phases, split_phases
from django_cfg.backup.engines.postgresql.pg_restore import ArchiveSelection, OpenedArchive
from django_cfg.backup.engines.postgresql.psql_session import PsqlSession, open_psql
from django_cfg.backup.engines.postgresql.restore_sessions import prepare_sessions
from django_cfg.backup.engines.postgresql.restored_data import FETCH_ANSWER, build_verification_query, parse_answer
from django_cfg.backup.engines.postgresql.switch import check_switch, explain_refusal, switch_databases
from django_cfg.backup.engines.postgresql.target import Target
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.errors import BackupError, VerificationFailed
from django_cfg.backup.manifest import DatabaseProperties, Manifest
from django_cfg.backup.pipeline.stream import Readable

_RAISE_EXCEPTION = "P0001"
_UNKNOWN_LOCALE = {"0A000", "22023", "42601", "42704", "42809"}  # an encoding, a locale or a provider


@contextmanager
def open_staging(target: Target, maintenance: Database, options: RestoreOptions) -> Iterator[Restoration]:
    """Create an empty staging database; at the end of the block it has become the target, or is dropped."""
    database = target.database
    with connect_to_restore(maintenance) as connection:
        with explain_restore_errors(database):
            staging_databases.lock_restores(connection, target.name, database.alias)
            staging_databases.sweep_locked(connection, target.name)
            name = staging_databases.find_free_name(connection, target.name, "restoring")
        try:
            with explain_restore_errors(database):
                advice = _create(connection, name, target, options)
            yield StagingRestoration(target, maintenance, options, name, advice)
        finally:
            staging_databases.discard(maintenance, name)


class StagingRestoration(Restoration):
    """A restore into the staging database *name*."""

    def __init__(self, target: Target, maintenance: Database, options: RestoreOptions, name: str, advice: str) -> None:
        self._target, self._maintenance, self._options = target, maintenance, options
        self._name, self._advice = name, advice
        self._staging = replace_name(target.database, name)
        self._notes = ""  # for the operator

    @property
    def staging_settings(self) -> Mapping[str, Any]:
        return get_connection_settings(self._staging)

    def describe_sanitizer_error(self, error: Exception) -> str:
        is_raised = get_sqlstate(error.__cause__ or error) == _RAISE_EXCEPTION
        return "" if is_raised else describe_error(error)  # else a function has chosen the words

    @property
    def tool(self) -> tuple[str, str]:
        return "pg_restore", self._target.tools.version

    def load(self, plain: Readable) -> None:
        manifest = self._target.manifest
        sizes = {table.name: table.rows for table in manifest.tables}
        self._rows = RowSource(self._target.tools, sizes, self.open_again)
        archive = self._rows.open(plain, manifest.engine.roles)
        selection = select_entries(self._target, archive, self._options)
        self._apply_custom_settings(archive)
        self._sessions = prepare_sessions(self._staging, self._options.jobs or self._target.database.restore_jobs)
        self._begun = archive, selection
        if manifest.row_archives:
            self._restore(archive, split_phases(archive, selection.main).rows)
            return
        if self._may_use_pg_restore:
            load_in_phases(archive, selection.main, self._sessions, self._rows)
        else:
            self._restore(archive, selection.main)
        self._finish(archive, selection)

    def load_rows(self, archives: Iterable[AbstractContextManager[Readable]]) -> None:
        todo = SimpleQueue[AbstractContextManager[Readable]]()
        for opened in archives:
            todo.put(opened)
        number = min(self._sessions.jobs, todo.qsize()) if self._may_use_pg_restore else 1
        self._rows.load_at_once([partial(self._load_row_archives, todo)] * number)
        archive, selection = self._begun
        phases = split_phases(archive, selection.main)
        if self._may_use_pg_restore:
            build_on_rows(archive, phases, self._sessions)
        else:
            for part in phases.after_rows:
                self._restore(archive, part, only_head=True)
        self._finish(archive, selection)

    def _load_row_archives(self, todo: SimpleQueue[AbstractContextManager[Readable]]) -> None:
        """Load one archive after the other; several threads may do so."""
        with suppress(Empty):
            while True:
                with todo.get_nowait() as plain:
                    rows = self._rows.open(plain)
                    self._restore(rows, ArchiveSelection(rows.contents.rows, ["--data-only"]))

    @property
    def _may_use_pg_restore(self) -> bool:
        """Whether pg_restore can restore here: our psql ends what keeps it from that."""
        tools, server = self._target.tools, self._target.server
        is_understood = tools.major <= server or tools.major < TRANSACTION_TIMEOUT_SINCE
        return is_understood and not self._sessions.is_read_only

    def _restore(self, archive: OpenedArchive, selection: ArchiveSelection, *, only_head: bool = False) -> None:
        if self._may_use_pg_restore:
            archive.load_into(self._sessions.database, selection, only_head=only_head)
            return
        with self._transaction(archive) as session:
            archive.write_script(selection, self._target.server, session.send_entries, only_head=only_head)

    @contextmanager
    def _transaction(self, archive: OpenedArchive) -> Iterator[PsqlSession]:
        with open_psql(self._staging, self._target.tools) as session:
            session.begin(archive.find_entry)
            yield session
            session.commit()

    def _finish(self, archive: OpenedArchive, selection: EntrySelection) -> None:
        if selection.optional:
            with self._transaction(archive) as session:
                failed = restore_optional(archive, selection, session, self._options)
            self.skipped = (*self.skipped, *failed)
        self.skipped = (*selection.skipped, *self.skipped)
        self._notes = selection.advise(self._target)

    def survey(self) -> Survey:
        with self._connect() as connection:
            counts = schema.count_rows(connection, schema.list_tables(connection))
            return Survey(counts, schema.fetch_migrations(connection))

    def check(self, manifest: Manifest) -> Mapping[str, int]:
        with self._connect() as connection:
            counts = schema.count_rows(connection, schema.list_tables(connection))
            compare_tables(manifest.tables, counts, manifest.name)
        return counts

    @contextmanager
    def _connect(self) -> Iterator[Any]:
        with connect(self._staging) as connection, explain_restore_errors(self._target.database):
            schema.execute(connection, "SET row_security = off", schema.NO_TIMEOUTS)
            yield connection

    def fetch_value(self, query: str) -> object:
        with connect(self._staging) as connection:
            try:
                schema.execute(connection, "BEGIN", schema.NO_TIMEOUTS_LOCAL, build_verification_query(query))
                return parse_answer(schema.fetch_rows(connection, FETCH_ANSWER)[0][0])
            except Exception as error:  # noqa: BLE001  psycopg 2 and 3 share no class but Exception
                raise VerificationFailed(
                    f"The verification query {query!r} fails on the restored data: {describe_error(error)}. "
                    f"The database {self._target.database.alias!r} was not touched."
                ) from None  # the driver's message may quote a row

    def switch(self) -> SwitchResult:
        target, kept = self._target, None
        if target.exists:
            with connect(self._maintenance) as connection:
                kept = staging_databases.find_free_name(connection, target.name, "before")
        lost = None if target.exists else target.manifest.engine.properties
        failures = switch_databases(
            self._maintenance, self._name, target.name, kept, lost, disconnect=self._options.disconnect
        )
        advice = " ".join(filter(None, (self._advice, _describe_failures(failures), self._notes)))
        if kept and self._options.discard_old:
            try:
                self._drop(kept)
                kept = None
            except BackupError as error:
                advice = f"It could not be dropped: {error} {advice}".rstrip()
        return SwitchResult(kept and f"the database {kept}", advice, self.skipped)

    def _apply_custom_settings(self, archive: OpenedArchive) -> None:
        """Give the staging database the settings of the backup whose values are in the archive alone."""
        properties = self._target.manifest.engine.properties
        is_wanted = self._options.backup_settings or not self._target.exists
        if not is_wanted or not properties or all(setting.value is not None for setting in properties.settings):
            return
        found = database_properties.find_custom_settings(archive.read_database_properties(), self._name)
        with connect_to_restore(self._maintenance) as connection:
            schema.execute(connection, "BEGIN")
            failures = database_properties.execute_where_possible(connection, found)
            schema.execute(connection, "COMMIT")
        self._advice = f"{self._advice} {_describe_failures(failures)}".strip()

    def _drop(self, name: str) -> None:
        quoted = schema.quote_name(name)
        statements = (f"ALTER DATABASE {quoted} IS_TEMPLATE false", f"DROP DATABASE {quoted} WITH (FORCE)")
        with connect_to_restore(self._maintenance) as connection:
            schema.execute(connection, *statements)


def _create(connection: Any, name: str, target: Target, options: RestoreOptions) -> str:
    """Create the staging database, and return what the operator has to know about it."""
    if target.exists:
        schema.execute(connection, database_properties.build_create_like(connection, name, target.name))
        properties = database_properties.fetch_properties(connection, target.name)
        if options.backup_settings and target.manifest.engine.properties:
            return _create_for_drill(connection, name, properties, target.manifest.engine.properties)
        statements = [statement for _, statement in database_properties.build_entrance(name, properties)]
        with explain_refusal(target.database.alias):
            schema.execute(
                connection, "BEGIN", *statements, database_properties.build_allow_connections(name), "COMMIT"
            )
        check_switch(connection, name, target.name, target.database.alias)
        return ""
    advice = _create_lost(connection, name, target)
    failures = []
    schema.execute(connection, "BEGIN")
    if target.manifest.engine.properties:
        entrance = database_properties.build_entrance(name, target.manifest.engine.properties)
        failures = database_properties.execute_where_possible(connection, entrance)
    schema.execute(connection, database_properties.build_allow_connections(name), "COMMIT")
    return f"{advice} {_describe_failures(failures)}".strip()


def _create_for_drill(connection: Any, name: str, properties: DatabaseProperties, backup: DatabaseProperties) -> str:
    """Let those enter who may enter the target, and find what the database that was backed up finds."""
    mixed = properties.model_copy(update={"settings": backup.settings})
    schema.execute(connection, "BEGIN")
    database_properties.execute_where_possible(connection, database_properties.build_entrance(name, mixed))
    schema.execute(connection, database_properties.build_allow_connections(name), "COMMIT")
    return ""


def _create_lost(connection: Any, name: str, target: Target) -> str:
    characters = target.manifest.engine.characters
    owner = target.find_lost_owner(connection)
    build = partial(database_properties.build_create_lost, name, server=target.server, owner=owner)
    try:
        schema.execute(connection, build(characters))
    except Exception as error:  # psycopg 2 and 3 share no class but Exception
        if characters is None or get_sqlstate(error) not in _UNKNOWN_LOCALE:
            raise
        schema.execute(connection, build(None))
        return (
            "The database was made with this server's own encoding and collation, since it does not know those of the "
            f"backup: {describe_error(error)}. Text may be sorted differently."
        )
    return ""


def _describe_failures(failures: Sequence[str]) -> str:
    return f"Of the database these could not be restored: {'; '.join(failures)}. Set them yourself." if failures else ""
