"""The SQLite engine, as the services use it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from django_cfg.backup.engines.base import (
    DEFAULT_OPTIONS,
    Database,
    Dump,
    Engine,
    Finding,
    ForeignDump,
    KeptObject,
    Level,
    Preflight,
    Restoration,
    RestoreOptions,
    Selection,
    SwitchResult,
)
from django_cfg.backup.engines.sqlite.connection import get_database_path, open_database
from django_cfg.backup.engines.sqlite.dump import check_selection, open_dump, require_temporary_space
from django_cfg.backup.engines.sqlite.foreign_dump import HEADER, read_header
from django_cfg.backup.engines.sqlite.kept_data import list_kept
from django_cfg.backup.engines.sqlite.preflight import run_preflight
from django_cfg.backup.engines.sqlite.restore import open_restoration, undo_restore
from django_cfg.backup.engines.sqlite.schema import list_tables
from django_cfg.backup.engines.sqlite.staging import check_file, survey_file
from django_cfg.backup.engines.sqlite.workspace import sweep_workspace
from django_cfg.backup.errors import StorageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import PeekableReader, Readable, blocks
from django_cfg.backup.process.private_dir import create_private, private_dir

# An archive is checked without any database of the project; receivers of connection_created know this alias best.
_NO_DATABASE = Database("default", {"ENGINE": "django.db.backends.sqlite3"})


class SQLiteEngine(Engine):
    format = "sqlite3"
    name = "SQLite"
    can_undo = True
    runs_archives = False  # it is a file, which is opened after its last byte was compared
    version_query = "SELECT sqlite_version()"

    @property
    def path(self) -> Path:
        """The database file itself, not a link to it."""
        return get_database_path(self.database).resolve()

    @property
    def identity(self) -> str:
        return f"sqlite:{self.path}"

    @property
    def location(self) -> str:
        return str(get_database_path(self.database))

    def exists(self) -> bool:
        path = get_database_path(self.database)
        try:
            return path.exists()
        except OSError:
            return True  # its folder cannot be read; opening the file will say so

    def dump(self, selection: Selection) -> AbstractContextManager[Dump]:
        return open_dump(self.database, selection)

    def restoration(
        self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS
    ) -> AbstractContextManager[Restoration]:
        return open_restoration(self.database, manifest, options)

    def preflight(self, manifest: Manifest, options: RestoreOptions = DEFAULT_OPTIONS) -> Preflight:
        return run_preflight(self.database, manifest, options)

    def undo(self, kept: str, *, disconnect: bool = False) -> SwitchResult:
        return undo_restore(self.database, Path(kept))

    def list_kept_data(self) -> list[KeptObject]:
        return list_kept(self.path)

    def sweep_staging(self, *, dry_run: bool = False) -> list[str]:
        return sweep_workspace(self.path, dry_run=dry_run)

    def check_health(self, selection: Selection) -> Iterator[Finding]:
        with open_database(self.database) as connection:
            check_selection(self.database, connection, selection)
            text = f"SQLite {sqlite3.sqlite_version}, {self.location}, can be read"
            yield Finding(Level.OK, self.database.alias, text)

    def is_empty(self) -> bool:
        path = get_database_path(self.database)
        if not path.exists() or path.stat().st_size == 0:
            return True
        with open_database(self.database) as connection:
            return not list_tables(connection).selectable

    @classmethod
    def check_archive(cls, plain: Readable, manifest: Manifest, tools_dir: str | None = None) -> None:
        require_temporary_space(manifest.archive.raw_size)
        with _copied(plain) as copy:
            check_file(copy, _NO_DATABASE, manifest, manifest.archive.key, indexes=True)

    @classmethod
    def examine_foreign(cls, plain: Readable, name: str, tools_dir: str | None = None) -> ForeignDump:
        source = PeekableReader(plain)
        dump = read_header(source.peek(HEADER), name)
        with _copied(source) as copy:
            survey_file(copy, _NO_DATABASE, name, indexes=True)
        return dump

    @classmethod
    def restore_command(cls, plain: Sequence[str]) -> str:
        return f"{plain[0]} > restored.sqlite3"


@contextmanager
def _copied(plain: Readable) -> Iterator[Path]:
    """A private file with the bytes of *plain*, which can be opened after its last byte was compared."""
    with private_dir() as folder:
        copy = folder / "copy.sqlite3"
        with create_private(copy) as file:
            for block in blocks(plain):
                try:
                    file.write(block)
                except OSError as error:
                    raise StorageError.from_os("write the temporary file", copy, error) from error
        yield copy
