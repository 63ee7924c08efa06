"""The engine of MySQL and MariaDB: its face to the services."""

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
    SwitchResult,
)
from django_cfg.backup.engines.connection_settings import merged_settings
from django_cfg.backup.engines.mysql import preflight, schema, staging
from django_cfg.backup.engines.mysql.connection import connected, location, parameters
from django_cfg.backup.engines.mysql.dump import dumping
from django_cfg.backup.engines.mysql.health_check import inspecting
from django_cfg.backup.engines.mysql.restore import restoring, resuming
from django_cfg.backup.engines.mysql.row_counts import Tally
from django_cfg.backup.engines.mysql.versions import refuse_unknown
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable, blocks


class MySQLEngine(Engine):
    format = "sql"
    name = "MySQL/MariaDB"

    @property
    def identity(self) -> str:
        found = parameters(merged_settings(self.database))
        where = found.get("socket") or f"{found.get('host', 'localhost')}:{found.get('port', '3306')}"
        return f"mysql:{where}/{found.get('database', '')}"

    @property
    def location(self) -> str:
        return location(self.database)

    def dump(self, selection: Selection) -> AbstractContextManager[Dump]:
        return dumping(self.database, selection)

    def preflight(self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS) -> Preflight:
        return preflight.run_preflight(self.database, manifest, options)

    def restoration(
        self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS
    ) -> AbstractContextManager[Restoration]:
        return restoring(self.database, manifest, options)

    def resume(self) -> SwitchResult | None:
        return resuming(self.database)

    def list_kept_data(self) -> list[KeptObject]:
        with connected(self.database) as session:
            return staging.set_aside(session)

    def sweep_staging(self, *, dry_run: bool = False) -> list[str]:
        with connected(self.database) as session:
            if not staging.is_alone(session):
                return []
            return staging.abandoned(session) if dry_run else staging.sweep(session)

    def check_health(self, selection: Selection) -> Iterator[Finding]:
        return inspecting(self.database, selection)

    def is_empty(self) -> bool:
        with connected(self.database) as session:
            return not schema.tables(session)

    @classmethod
    def check_archive(cls, plain: Readable, manifest: Manifest, tools_dir: str | None = None) -> None:
        """Every statement has an end, so has the dump, and it holds the rows that the manifest tells."""
        _read(plain, manifest)

    def check_loadable(self, plain: Readable, manifest: Manifest) -> None:
        refuse_unknown(self.database, manifest, _read(plain, manifest).wanted)

    @classmethod
    def restore_command(cls, unpack: str, archive: str) -> str:
        plain = f"{unpack} {quote(archive)}"
        steps = (
            "client=$(command -v mariadb || command -v mysql)",
            f"{plain} | tail -n 1 | grep '^-- Dump completed'",  # a shell tells only how the end of a pipe has ended
            '$client -e "CREATE DATABASE restored CHARACTER SET utf8mb4"',
            f"{plain} | $client --binary-mode --max-allowed-packet=1G restored",
        )
        return " && ".join(steps)


def _read(plain: Readable, manifest: Manifest) -> Tally:
    """What passes when *plain* is read to its end.

    :raises VerificationFailed: it is not the whole dump that *manifest* tells of.
    """
    tally = Tally()
    for block in blocks(plain):
        tally.add(block)
    if not tally.is_whole:
        raise VerificationFailed(f"{manifest.archive.key} is not a whole dump: its end mark is missing.")
    counted = [table for table in manifest.tables if table.name not in tally.uncountable]
    held = {table.name: tally.rows.get(table.name, 0) for table in counted}
    compare_tables(counted, held, manifest.archive.key)
    return tally
