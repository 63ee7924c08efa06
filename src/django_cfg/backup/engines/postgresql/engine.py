"""The PostgreSQL engine: its face to the services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from shlex import quote

from django_cfg.backup.engines.base import (
    DEFAULT_OPTIONS,
    Dump,
    Engine,
    Finding,
    KeptObject,
    Preflight,
    Restoration,
    RestoreOptions,
    Selection,
)
from django_cfg.backup.engines.postgresql import preflight, schema, staging_databases
from django_cfg.backup.engines.postgresql.connection import connected, connection_settings, location
from django_cfg.backup.engines.postgresql.dump import dumping
from django_cfg.backup.engines.postgresql.error_text import program
from django_cfg.backup.engines.postgresql.health_check import inspecting
from django_cfg.backup.engines.postgresql.libpq import whereabouts
from django_cfg.backup.engines.postgresql.tools import choose, major
from django_cfg.backup.errors import ToolFailed, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable, blocks
from django_cfg.backup.process.child import Feeder


class PostgreSQLEngine(Engine):
    format = "pgdump"
    name = "PostgreSQL"
    can_drill_partial = False
    version_query = "SELECT current_setting('server_version')"

    @property
    def identity(self) -> str:
        return "postgresql:" + "/".join(whereabouts(connection_settings(self.database)))

    @property
    def location(self) -> str:
        return location(self.database)

    def dump(self, selection: Selection) -> AbstractContextManager[Dump]:
        return dumping(self.database, selection)

    def restoration(
        self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS
    ) -> AbstractContextManager[Restoration]:
        return preflight.restoring(self.database, manifest, options)

    def preflight(self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS) -> Preflight:
        return preflight.run_preflight(self.database, manifest, options)

    def list_kept_data(self) -> list[KeptObject]:
        return staging_databases.set_aside(self.database)

    def sweep_staging(self, *, dry_run: bool = False) -> list[str]:
        return staging_databases.sweep(self.database, dry_run=dry_run)

    def check_health(self, selection: Selection) -> Iterator[Finding]:
        return inspecting(self.database, selection)

    def is_empty(self) -> bool:
        with connected(self.database) as connection:
            return not schema.tables(connection)

    @classmethod
    def check_archive(cls, plain: Readable, manifest: Manifest, tools_dir: str | None = None) -> None:
        """``--list`` is content with half a file; making the whole script is not."""
        tools = choose(major(manifest.engine.tool_version), tools_dir, f"To read {manifest.archive.key}")
        argv = [tools.path("pg_restore"), "--file=/dev/null"]
        with Feeder(blocks(plain), to_the_end=True) as feeder, program(argv, feed=True) as reader:
            feeder.start(reader.stdin)
            try:
                reader.wait()
            except ToolFailed as error:
                raise VerificationFailed(f"{manifest.archive.key} is not a whole dump: {error}.") from error

    @classmethod
    def restore_command(cls, unpack: str, archive: str) -> str:
        return f"createdb restored && {unpack} {quote(archive)} | pg_restore --no-owner --dbname=restored"
