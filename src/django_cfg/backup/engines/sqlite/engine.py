"""The SQLite engine: its face to the services."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from shlex import quote

from django_cfg.backup.engines.base import (
    DEFAULT_OPTIONS,
    Database,
    Dump,
    Engine,
    Finding,
    KeptObject,
    Level,
    Preflight,
    Restoration,
    RestoreOptions,
    Selection,
)
from django_cfg.backup.engines.sqlite import kept_data, preflight, schema
from django_cfg.backup.engines.sqlite.connection import database_path, live, open_live, open_private
from django_cfg.backup.engines.sqlite.copy import plan
from django_cfg.backup.engines.sqlite.dump import dumping, full_check
from django_cfg.backup.engines.sqlite.interruptible import Stop, carry_out
from django_cfg.backup.engines.sqlite.private import require_temporary_space, write_temporary
from django_cfg.backup.engines.sqlite.staging import SQLiteRestoration, preparing
from django_cfg.backup.engines.sqlite.table_restore import SomeTables, choose_tables
from django_cfg.backup.engines.sqlite.workspace import sweep
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable
from django_cfg.backup.process.private_dir import private_dir

# No database of the project is at hand; the alias is the one its connection_created receivers know best.
_UNNAMED = Database("default", {"ENGINE": "django.db.backends.sqlite3"})


class SQLiteEngine(Engine):
    format = "sqlite3"
    name = "SQLite"
    runs_archives = False  # it is a file, which is opened after its last byte was compared
    version_query = "SELECT sqlite_version()"

    @property
    def identity(self) -> str:
        return f"sqlite:{database_path(self.database).resolve()}"

    @property
    def location(self) -> str:
        return str(database_path(self.database))

    def exists(self) -> bool:
        path = database_path(self.database)
        try:
            return path.exists()
        except OSError:
            return True  # behind a closed door; opening it will tell

    def dump(self, selection: Selection) -> AbstractContextManager[Dump]:
        return dumping(self.database, selection)

    @contextmanager
    def restoration(self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS) -> Iterator[Restoration]:
        preflight.refuse_in_place(options)
        chosen = choose_tables(self.database, manifest, options.tables) if options.tables else []
        keep_old = not options.discard_old
        with preparing(self.database, manifest, keep_old=keep_old) as (target, workshop):
            if chosen:
                yield SomeTables(self.database, target, workshop, keep_old=keep_old, chosen=chosen)
            else:
                yield SQLiteRestoration(self.database, target, workshop, keep_old=keep_old)

    def preflight(self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS) -> Preflight:
        return preflight.run_preflight(self.database, manifest, options)

    def list_kept_data(self) -> list[KeptObject]:
        return kept_data.found(database_path(self.database).resolve())

    def sweep_staging(self, *, dry_run: bool = False) -> list[str]:
        return sweep(self.database, dry_run=dry_run)

    def check_health(self, selection: Selection) -> Iterator[Finding]:
        with live(self.database) as connection:
            plan(self.database, connection, selection)
            yield Finding(
                Level.OK, self.database.alias, f"SQLite {sqlite3.sqlite_version}, {self.location}, can be read"
            )

    def is_empty(self) -> bool:
        path = database_path(self.database)
        if not path.exists() or path.stat().st_size == 0:
            return True
        with live(self.database) as connection:
            return not schema.tables(connection).selectable

    @classmethod
    def check_archive(cls, plain: Readable, manifest: Manifest, tools_dir: str | None = None) -> None:
        require_temporary_space(manifest.archive.raw_size)
        with private_dir() as folder:
            copy = folder / "copy.sqlite3"
            write_temporary(copy, plain)
            try:
                carry_out(lambda stop: _examine(copy, manifest, stop))
            except sqlite3.DatabaseError as error:
                raise VerificationFailed(
                    f"{manifest.archive.key} does not hold a readable SQLite database: {error}."
                ) from error

    @classmethod
    def restore_command(cls, unpack: str, archive: str) -> str:
        return f"{unpack} {quote(archive)} > restored.sqlite3"


def _examine(copy: Path, manifest: Manifest, stop: Stop) -> None:
    with closing(open_live(copy)):
        pass  # a file that is no database at all is told by SQLite before Django is asked
    with open_private(copy, _UNNAMED, immutable=True) as connection, stop.by(connection.interrupt):
        if findings := full_check(connection):
            raise VerificationFailed(f"{manifest.archive.key} holds a damaged SQLite database: {findings}.")
        compare_tables(manifest.tables, schema.count_rows(connection), manifest.archive.key)
