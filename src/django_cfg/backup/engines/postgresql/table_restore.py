"""Some tables of a backup into the database as it is: one transaction that empties them, loads them and counts.

Foreign keys between them and the other tables are taken away and put back at the end, where the server
checks every row of them: one that misses its partner rolls everything back. Triggers do not fire.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from django_cfg.backup.engines.base import Database, Restoration, SwitchResult
from django_cfg.backup.engines.postgresql import schema
from django_cfg.backup.engines.postgresql.connection import connected
from django_cfg.backup.engines.postgresql.pg_restore import Choice, OpenedArchive
from django_cfg.backup.engines.postgresql.psql_session import Psql, psql
from django_cfg.backup.engines.postgresql.row_check import recount
from django_cfg.backup.engines.postgresql.schema import Name, literal
from django_cfg.backup.engines.postgresql.target import Target
from django_cfg.backup.engines.postgresql.tools import Tools
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.manifest import Manifest, Table
from django_cfg.backup.pipeline.stream import Readable

# The chosen tables, and the partitioned ones they are parts of: constraints are declared on those.
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
_SEQUENCES = f"""
WITH {_CHOSEN}
SELECT n.nspname, s.relname FROM chosen
JOIN pg_depend d ON d.refobjid = chosen.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_class s ON s.oid = d.objid AND d.classid = 'pg_class'::regclass AND s.relkind = 'S'
JOIN pg_namespace n ON n.oid = s.relnamespace
"""
# What has to be put back afterwards is kept as statements in a setting of the transaction's own.
_OPEN = f"""
SET LOCAL search_path = '';
DO $django_cfg_open$
DECLARE
    item record;
    afterwards text[] := '{{}}';
BEGIN
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
    PERFORM set_config('django_cfg.afterwards', afterwards::text, true);
END $django_cfg_open$;
"""
_CLOSE = """
SET LOCAL client_encoding = 'UTF8';
DO $django_cfg_close$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY current_setting('django_cfg.afterwards')::text[]
    LOOP EXECUTE statement; END LOOP;
END $django_cfg_close$;
"""


@contextmanager
def restoring_tables(
    database: Database, manifest: Manifest, target: Target, tools: Tools, patterns: Sequence[str]
) -> Iterator[Restoration]:
    """A restore of some tables of *database*, prepared and not begun."""
    chosen = choose_tables(database, manifest, patterns)
    with connected(database) as connection:
        sequences = [Name(*row) for row in schema.rows(connection, _about(_SEQUENCES, chosen))]
    with psql(database, tools) as session, tempfile.TemporaryDirectory() as folder:
        yield SomeTables(manifest, tools, session, Path(folder), target, chosen, sequences)


class SomeTables(Restoration):
    def __init__(
        self,
        manifest: Manifest,
        tools: Tools,
        session: Psql,
        folder: Path,
        target: Target,
        chosen: Sequence[Name],
        sequences: Sequence[Name],
    ) -> None:
        self._tables = _in_manifest(manifest, chosen)
        self._known = [table.name for table in manifest.tables]
        self._tools, self._psql, self._folder, self._target = tools, session, folder, target
        self._chosen, self._sequences = chosen, sequences

    def load(self, plain: Readable) -> None:
        archive = OpenedArchive(plain, self._tools)
        contents = archive.contents.data_of(
            {str(name) for name in self._chosen}, set(map(str, self._sequences)), self._known
        )
        self._psql.begin()
        self._psql.send(_about(_OPEN, self._chosen))
        choice = Choice(["--data-only"], contents)
        archive.write_script(choice, self._folder, self._target.server, self._psql.send)

    def check(self, manifest: Manifest) -> None:
        self._psql.send(recount(self._tables, others=True))
        self._psql.send(_CLOSE)
        self._psql.wait_for("checked")

    def fetch_value(self, query: str) -> object:
        return self._psql.fetch_value(query)

    def switch(self) -> SwitchResult:
        self._psql.commit()
        return SwitchResult(None)


def choose_tables(database: Database, manifest: Manifest, patterns: Sequence[str]) -> list[Name]:
    """The tables that *patterns* mean, found in the backup and in the database.

    :raises UsageError: a pattern matches nothing in the backup.
    :raises RestoreRefused: the database lacks one of them, or their rows were left out.
    """
    with connected(database) as connection:
        there = schema.tables(connection)
        stored = [_split(table.name, there) for table in manifest.tables]
        chosen = schema.chosen(connection, stored, patterns, "--tables", database.alias)
    _refuse_missing([name for name in chosen if name not in there], f"the database {database.alias!r} has no table")
    _refuse_missing([name for name in chosen if str(name) in manifest.excluded], "the backup left out the rows of")
    return list(chosen)


def foreign_keys(database: Database, chosen: Sequence[Name]) -> list[str]:
    """The foreign keys between the *chosen* tables and others, in words."""
    with connected(database) as connection:
        found = schema.rows(connection, _about(_FOREIGN_KEYS, chosen))
    return [f"{child} to {parent} ({name})" for name, child, parent, among_themselves in found if not among_themselves]


def _about(query: str, chosen: Sequence[Name]) -> str:
    return query.replace("%TABLES%", literal("{" + ",".join(_item(name) for name in chosen) + "}"))


def _item(name: Name) -> str:
    r"""As an element of an array's text, where a quote and a backslash are written ``\"`` and ``\\``."""
    return '"' + name.quoted.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _split(name: str, there: Collection[Name]) -> Name:
    """A manifest's ``schema.table``; where a dot in a name leaves it open, as the database has it."""
    known = {str(found): found for found in there}
    return known.get(name) or Name(*name.split(".", 1))


def _in_manifest(manifest: Manifest, chosen: Sequence[Name]) -> list[Table]:
    names = {str(name) for name in chosen}
    return [table for table in manifest.tables if table.name in names]


def _refuse_missing(names: Sequence[Name], why: str) -> None:
    if names:
        raise RestoreRefused(
            f"These tables cannot be restored on their own, since {why} {', '.join(map(str, names))}: "
            "restore the whole backup, into another database (--to) if need be."
        )
