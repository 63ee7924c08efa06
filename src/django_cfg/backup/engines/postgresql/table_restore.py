"""A restore of some tables into the database as it is: one transaction that empties them, loads them and counts.

Foreign keys between them and the other tables are dropped and created again at the end, when the server checks every
row: a row that refers to a missing row rolls everything back. Triggers do not fire, nor do event triggers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

from django_cfg.backup.engines.base import DEFAULT_OPTIONS, Database, SwitchResult
from django_cfg.backup.engines.postgresql import schema
from django_cfg.backup.engines.postgresql.column_types import find_changed, find_types
from django_cfg.backup.engines.postgresql.connection import connect
from django_cfg.backup.engines.postgresql.entry_selection import EntrySelection
from django_cfg.backup.engines.postgresql.in_place import InPlaceRestoration
from django_cfg.backup.engines.postgresql.pg_restore import ArchiveSelection, OpenedArchive
from django_cfg.backup.engines.postgresql.psql_session import PsqlSession
from django_cfg.backup.engines.postgresql.restored_data import build_row_check
from django_cfg.backup.engines.postgresql.schema import TableName
from django_cfg.backup.engines.postgresql.sequence_positions import Column, Position, build_positions, find_positions
from django_cfg.backup.engines.postgresql.target import Target
from django_cfg.backup.engines.table_comparison import require_restorable
from django_cfg.backup.errors import RestoreFailed, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable

# The chosen tables, and the partitioned tables above them, which declare their constraints.
_CHOSEN = """
    chosen AS (SELECT unnest(%TABLES%::regclass[])::oid AS oid),
    related AS (
        SELECT oid FROM chosen
        UNION SELECT a.relid::oid FROM chosen, pg_partition_ancestors(chosen.oid::regclass) a (relid))
"""
_FOREIGN_KEYS = f"""
WITH {_CHOSEN}
SELECT k.conname, k.conrelid::regclass::text, k.confrelid::regclass::text,
    k.conrelid IN (SELECT oid FROM related) AND k.confrelid IN (SELECT oid FROM related)
FROM pg_constraint k
WHERE k.contype = 'f' AND k.conparentid = 0
  AND (k.conrelid IN (SELECT oid FROM related) OR k.confrelid IN (SELECT oid FROM related))
ORDER BY 2, 1
"""
# Named as pg_dump does, which has no search_path.
_TYPES = """
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM set_config('search_path', '', false), pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%TABLES%::regclass[]) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY 1, 2, a.attnum
"""
# Event triggers would see that foreign keys are dropped and made again, and might refuse it. Those of extensions stay.
_EVENT_TRIGGERS = """
SELECT evtname AS name, evtenabled, pg_has_role(evtowner, 'USAGE') AS is_ours FROM pg_event_trigger t
WHERE evtenabled <> 'D' AND evtevent LIKE 'ddl%' AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_event_trigger'::regclass AND objid = t.oid AND deptype = 'e')
ORDER BY 1
"""
# A setting of the transaction holds the statements that restore the keys and triggers.
_PREPARE = f"""
SET LOCAL search_path = '';
DO $django_cfg_prepare$
DECLARE
    item record;
    afterwards text[] := '{{}}';
    at_last text[] := '{{}}';
BEGIN
    FOR item IN {_EVENT_TRIGGERS}
    LOOP
        IF item.is_ours THEN
            EXECUTE format('ALTER EVENT TRIGGER %I DISABLE', item.name);
            at_last := at_last || format('ALTER EVENT TRIGGER %I ENABLE %s', item.name,
                CASE item.evtenabled WHEN 'R' THEN 'REPLICA' WHEN 'A' THEN 'ALWAYS' ELSE '' END);
        END IF;
    END LOOP;
    FOR item IN SELECT unnest(%TABLES%::regclass[]) AS name
    LOOP EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', item.name); END LOOP;
    FOR item IN
        WITH {_CHOSEN}
        SELECT k.conrelid::regclass AS name, k.conname, pg_get_constraintdef(k.oid) AS definition,
            obj_description(k.oid, 'pg_constraint') AS comment
        FROM pg_constraint k
        WHERE k.contype = 'f' AND k.conparentid = 0
          AND (k.conrelid IN (SELECT oid FROM related) OR k.confrelid IN (SELECT oid FROM related))
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', item.name, item.conname);
        afterwards := afterwards
            || format('ALTER TABLE %s ADD CONSTRAINT %I %s', item.name, item.conname, item.definition);
        IF item.comment IS NOT NULL THEN
            afterwards := afterwards
                || format('COMMENT ON CONSTRAINT %I ON %s IS %L', item.conname, item.name, item.comment);
        END IF;
    END LOOP;
    FOR item IN SELECT tgrelid::regclass AS name, tgname, tgenabled FROM pg_trigger
        WHERE tgrelid = ANY (%TABLES%::regclass[]) AND NOT tgisinternal AND tgenabled <> 'D'
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', item.name, item.tgname);
        afterwards := afterwards || format('ALTER TABLE %s ENABLE %s TRIGGER %I', item.name,
            CASE item.tgenabled WHEN 'R' THEN 'REPLICA' WHEN 'A' THEN 'ALWAYS' ELSE '' END, item.tgname);
    END LOOP;
    FOR item IN SELECT unnest(%TABLES%::regclass[]) AS name
    LOOP EXECUTE format('TRUNCATE ONLY %s', item.name); END LOOP;
    PERFORM set_config('django_cfg.afterwards', (afterwards || at_last)::text, true);
END $django_cfg_prepare$;
"""
_FINISH = """
SET LOCAL client_encoding = 'UTF8';
DO $django_cfg_finish$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY current_setting('django_cfg.afterwards')::text[]
    LOOP EXECUTE statement; END LOOP;
END $django_cfg_finish$;
"""


class TableRestoration(InPlaceRestoration):
    """A restore of the *chosen* tables, and of the sequences of their columns, in the transaction of a psql session."""

    def __init__(self, target: Target, session: PsqlSession, chosen: Sequence[TableName]) -> None:
        super().__init__(target, session, DEFAULT_OPTIONS)
        self._chosen = chosen
        self._positions: Mapping[Column, Position] = {}
        self._found = 0  # tables whose rows are in what was read so far

    def load_rows(self, archives: Iterable[AbstractContextManager[Readable]]) -> None:
        for opened in archives:
            with opened as plain:
                archive = OpenedArchive(plain, self._target.tools)
                if (rows := self._choose_rows(archive)).contents.text:
                    archive.write_script(rows, self._target.server, self._session.send_entries)
        self._require_all_rows()

    def check(self, manifest: Manifest) -> Mapping[str, int]:
        names = set(map(str, self._chosen))
        tables = [table for table in manifest.tables if table.name in names]
        positions = build_positions(self._positions, _insert_tables(_CHOSEN, self._chosen))
        self._session.send(build_row_check(tables, allow_others=True) + positions + _FINISH)
        self._session.wait_for("check")
        return {}

    def switch(self) -> SwitchResult:
        self._session.commit()
        return SwitchResult(None)

    def _select(self, archive: OpenedArchive) -> EntrySelection:
        script = archive.read_columns()
        self._refuse_changed_types(script)
        self._positions = find_positions(script)
        chosen = EntrySelection(self._choose_rows(archive))
        if not self._target.manifest.row_archives:
            self._require_all_rows()
        return chosen

    def _select_first(self, selection: EntrySelection) -> ArchiveSelection:
        return selection.main

    def _choose_rows(self, archive: OpenedArchive) -> ArchiveSelection:
        known = [table.name for table in self._target.manifest.tables]
        rows = archive.contents.data_of(set(map(str, self._chosen)), known)
        self._found += len(list(filter(None, rows.lines)))
        return ArchiveSelection(rows, ["--data-only"])

    def _require_all_rows(self) -> None:
        if self._found != len(self._chosen):
            raise VerificationFailed(
                f"The archive holds the rows of {self._found} of the {len(self._chosen)} tables: restore the complete "
                "backup."
            )

    def _refuse_changed_types(self, script: str) -> None:
        with connect(self._target.database) as connection:
            rows = schema.fetch_rows(connection, _insert_tables(_TYPES, self._chosen))
        changed = find_changed(find_types(script), {tuple(column): text for *column, text in rows})
        if changed:
            raise RestoreFailed(
                f"These columns of the backup have other types here, and values might not stay the same: "
                f"{', '.join(changed)}. Nothing was changed. Restore the complete backup, into another database (--to) "
                "if necessary."
            )

    def _build_preparation(self, archive: OpenedArchive) -> str:
        return _insert_tables(_PREPARE, self._chosen)


def choose_tables(database: Database, manifest: Manifest, patterns: Sequence[str]) -> list[TableName]:
    """Return the tables that *patterns* match, if the backup and the database have them.

    :raises UsageError: a pattern matches nothing in the backup.
    :raises RestoreRefused: the database lacks one of them, or their rows were left out.
    """
    with connect(database) as connection:
        existing = {str(name): name for name in schema.list_tables(connection)}
        # a dot in a name makes the manifest's schema.table ambiguous; the database decides
        stored = [existing.get(table.name) or TableName(*table.name.split(".", 1)) for table in manifest.tables]
        chosen = schema.match_tables(connection, stored, patterns, "--tables", database.alias)
    require_restorable(list(map(str, chosen)), existing, manifest.excluded, database.alias)
    return list(chosen)


def list_foreign_keys(database: Database, chosen: Sequence[TableName]) -> list[str]:
    """Describe the foreign keys between the *chosen* tables and others."""
    with connect(database) as connection:
        keys = schema.fetch_rows(connection, _insert_tables(_FOREIGN_KEYS, chosen))
    return [f"{child} to {parent} ({name})" for name, child, parent, is_internal in keys if not is_internal]


def list_event_triggers(database: Database) -> list[str]:
    """Return the event triggers that a restore of some tables sets off, since this role may not disable them."""
    with connect(database) as connection:
        return [name for name, _, is_ours in schema.fetch_rows(connection, _EVENT_TRIGGERS) if not is_ours]


def _insert_tables(query: str, chosen: Sequence[TableName]) -> str:
    r"""Insert the *chosen* tables into *query*, as an array's text: a quote and a backslash are ``\"`` and ``\\``."""
    items = (name.quoted.replace("\\", "\\\\").replace('"', '\\"') for name in chosen)
    return query.replace("%TABLES%", schema.quote_literal("{" + ",".join(f'"{item}"' for item in items) + "}"))
