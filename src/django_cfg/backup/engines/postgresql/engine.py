"""The PostgreSQL engine, as the services use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from django_cfg.backup.engines.base import (
    DEFAULT_OPTIONS,
    Dump,
    Engine,
    Finding,
    ForeignDump,
    KeptObject,
    Preflight,
    Restoration,
    RestoreOptions,
    Selection,
    SwitchResult,
)
from django_cfg.backup.engines.postgresql import dump, staging_databases
from django_cfg.backup.engines.postgresql.connection import connect
from django_cfg.backup.engines.postgresql.foreign_dump import examine_foreign
from django_cfg.backup.engines.postgresql.libpq import describe_location, identify
from django_cfg.backup.engines.postgresql.pg_restore import check_archive
from django_cfg.backup.engines.postgresql.preflight import run_preflight
from django_cfg.backup.engines.postgresql.restore import open_restoration, undo_restore
from django_cfg.backup.engines.postgresql.schema import list_tables
from django_cfg.backup.engines.postgresql.tools import choose_tools, parse_major
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable


class PostgreSQLEngine(Engine):
    format = "pgdump"
    name = "PostgreSQL"
    can_undo = True
    can_skip = True
    can_drill_partial = False
    version_query = "SELECT current_setting('server_version')"

    @property
    def identity(self) -> str:
        return "postgresql:" + "/".join(identify(self.database))

    @property
    def location(self) -> str:
        return describe_location(self.database)

    def dump(self, selection: Selection) -> AbstractContextManager[Dump]:
        return dump.open_dump(self.database, selection)

    def restoration(
        self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS
    ) -> AbstractContextManager[Restoration]:
        return open_restoration(self.database, manifest, options)

    def preflight(self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS) -> Preflight:
        return run_preflight(self.database, manifest, options)

    def undo(self, kept: str, *, disconnect: bool = False) -> SwitchResult:
        return undo_restore(self.database, kept, disconnect=disconnect)

    def list_kept_data(self) -> list[KeptObject]:
        return staging_databases.list_kept(self.database)

    def sweep_staging(self, *, dry_run: bool = False) -> list[str]:
        return staging_databases.sweep(self.database, dry_run=dry_run)

    def check_health(self, selection: Selection) -> Iterator[Finding]:
        return dump.check_health(self.database, selection)

    def is_empty(self) -> bool:
        with connect(self.database) as connection:
            return not list_tables(connection)

    @classmethod
    def check_archive(cls, plain: Readable, manifest: Manifest, tools_dir: str | None = None) -> None:
        name = manifest.archive.key
        tools = choose_tools(parse_major(manifest.engine.tool_version), tools_dir, f"To read {name}")
        check_archive(plain, tools, name)

    @classmethod
    def examine_foreign(cls, plain: Readable, name: str, tools_dir: str | None = None) -> ForeignDump:
        return examine_foreign(plain, name, tools_dir)

    @classmethod
    def restore_command(cls, plain: Sequence[str]) -> str:
        first, *rows = plain
        restore = "pg_restore --no-owner --dbname=restored"
        if not rows:
            return f"createdb restored && {first} | {restore}"
        steps = (
            "createdb restored",
            f"{first} | {restore} --section=pre-data --section=data",
            *(f"{each} | {restore} --data-only" for each in rows),
            f"{first} | {restore} --section=post-data",  # indexes and foreign keys, when all rows are there
        )
        return " && ".join(steps)
