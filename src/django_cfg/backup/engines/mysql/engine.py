"""The MySQL and MariaDB engine, as the services use it."""

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
from django_cfg.backup.engines.mysql import connection, dump, foreign_dump, preflight, restore, staging_schemas
from django_cfg.backup.engines.mysql.dump_scanner import DumpScanner
from django_cfg.backup.engines.mysql.missing_database import is_missing
from django_cfg.backup.engines.mysql.schema import list_tables
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.errors import DatabaseUnavailable, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable, blocks

# For a restore by hand; only MariaDB reads the comment. The dump sets foreign_key_checks itself.
_LENIENT = "--init-command='SET foreign_key_checks=0 /*M!, innodb_strict_mode=0, check_constraint_checks=0 */'"


class MySQLEngine(Engine):
    format = "sql"
    name = "MySQL/MariaDB"

    @property
    def identity(self) -> str:
        return connection.identify(self.database)

    @property
    def location(self) -> str:
        return connection.location(self.database)

    def dump(self, selection: Selection) -> AbstractContextManager[Dump]:
        return dump.open_dump(self.database, selection)

    def preflight(self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS) -> Preflight:
        return preflight.run_preflight(self.database, manifest, options)

    def restoration(
        self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS
    ) -> AbstractContextManager[Restoration]:
        return restore.open_restoration(self.database, manifest, options)

    def resume(self) -> SwitchResult | None:
        return restore.resume_switch(self.database)

    def list_kept_data(self) -> list[KeptObject]:
        with connection.connect(self.database) as session:
            return staging_schemas.list_kept(session)

    def sweep_staging(self, *, dry_run: bool = False) -> list[str]:
        with connection.connect(self.database) as session:
            if not staging_schemas.try_lock_restores(session):
                return []
            return staging_schemas.list_abandoned(session) if dry_run else staging_schemas.drop_abandoned(session)

    def check_health(self, selection: Selection) -> Iterator[Finding]:
        return dump.check_health(self.database, selection)

    def check_restorable(self, manifest: Manifest) -> Iterator[Finding]:
        with connection.connect(self.database) as session:
            yield from preflight.check_largest_statement(session, manifest)

    def is_empty(self) -> bool:
        try:
            with connection.connect(self.database) as session:
                return not list_tables(session)
        except DatabaseUnavailable as error:
            if not is_missing(error):
                raise
            return True

    @classmethod
    def check_archive(cls, plain: Readable, manifest: Manifest, tools_dir: str | None = None) -> None:
        """Check that every statement and the dump are complete, and that it holds the rows of the manifest."""
        _scan(plain, manifest)

    def check_loadable(self, plain: Readable, manifest: Manifest) -> None:
        preflight.refuse_unknown_charsets(self.database, manifest, _scan(plain, manifest))

    @classmethod
    def examine_foreign(cls, plain: Readable, name: str, tools_dir: str | None = None) -> ForeignDump:
        return foreign_dump.examine_foreign(plain, name)

    @classmethod
    def restore_command(cls, plain: Sequence[str]) -> str:
        steps = (
            "client=$(command -v mariadb || command -v mysql)",
            f"{plain[0]} | tail -n 1 | grep '^-- Dump completed'",  # a shell reports only the last exit code of a pipe
            '$client -e "CREATE DATABASE restored CHARACTER SET utf8mb4"',
            f"{plain[0]} | $client --binary-mode --local-infile=0 --max-allowed-packet=1G {_LENIENT} restored",
        )
        return " && ".join(steps)


def _scan(plain: Readable, manifest: Manifest) -> DumpScanner:
    """Read *plain* to its end.

    :raises VerificationFailed: it is not the complete dump that *manifest* describes.
    """
    scanner = DumpScanner()
    for block in blocks(plain):
        scanner.feed(block)
    if not scanner.is_complete:
        raise VerificationFailed(f"{manifest.archive.key} is not a complete dump: its end mark is missing.")
    expected = [table for table in manifest.tables if table.name not in scanner.uncountable]
    compare_tables(expected, {table.name: scanner.rows.get(table.name, 0) for table in expected}, manifest.archive.key)
    return scanner
