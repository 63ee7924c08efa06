"""A restore into a staging file in the workspace next to the database; the file is checked before the switch."""

from __future__ import annotations

import os
import sqlite3
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from django_cfg.backup.engines.base import Database, Restoration, Survey, SwitchResult
from django_cfg.backup.engines.sqlite.connection import (
    Interrupts,
    build_uri,
    open_as_project,
    open_file,
    open_read_only,
    run_interruptibly,
)
from django_cfg.backup.engines.sqlite.kept_data import OldData
from django_cfg.backup.engines.sqlite.schema import count_rows, fetch_migrations, find_damage, forget_removed_words
from django_cfg.backup.engines.table_comparison import compare_tables
from django_cfg.backup.errors import RestoreFailed, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable, pump
from django_cfg.backup.process.private_dir import create_private


class StagingRestoration(Restoration):
    """Loads and checks the staging file; how the switch takes it over is left to the subclasses."""

    def __init__(self, database: Database, target: Path, workspace: Path, *, keep_old: bool) -> None:
        self._database, self._target = database, target
        self._old_data = OldData(target, workspace)
        self._staging = workspace / "scratch.sqlite3"
        self._keep_old = keep_old

    @property
    def staging_settings(self) -> Mapping[str, Any]:
        return {**self._database.settings, "NAME": build_uri(self._staging, immutable="1")}

    @property
    def sanitizer_settings(self) -> Mapping[str, Any]:
        options = self._database.settings.get("OPTIONS", {})
        kept = {key: options[key] for key in options if key != "init_command"}  # it could change the journal mode
        return {**self._database.settings, "NAME": build_uri(self._staging, mode="rw"), "OPTIONS": kept}

    def describe_sanitizer_error(self, error: Exception) -> str:
        is_raised = getattr(error.__cause__, "sqlite_errorname", "") == "SQLITE_CONSTRAINT_TRIGGER"
        return "" if is_raised else str(error)  # else a trigger has chosen the words

    def finish_sanitizing(self) -> None:
        """Build the file again: free pages, and the free space in others, hold what the rows were before."""
        try:
            with open_as_project(self._staging, self._database, Interrupts()) as connection:
                forget_removed_words(connection)
                connection.commit()
            self._write_again()
        except sqlite3.DatabaseError as error:
            raise RestoreFailed(
                f"The sanitised data could not be separated from what it was before (VACUUM): {error}. See whether "
                "the disk is full, or the sanitizer has left a connection open. The database "
                f"{self._database.alias!r} is as it was."
            ) from error

    def _write_again(self, *pragmas: str) -> None:
        """Write the rows of the staging file into a new one, which has nothing else.

        A plain VACUUM gives other numbers to the rows of tables without any index, to which full-text tables refer.

        :param pragmas: that say how the new one is.
        :raises sqlite3.DatabaseError: it cannot be read or written, or another connection has it open.
        """
        result = self._staging.with_name("written-again.sqlite3")
        create_private(result).close()
        with open_as_project(self._staging, self._database, Interrupts()) as connection:
            for statement in ("PRAGMA journal_mode = DELETE", "BEGIN EXCLUSIVE", "ROLLBACK", *pragmas):
                connection.execute(statement)
            connection.execute("VACUUM INTO ?", (str(result),))
        result.replace(self._staging)

    @property
    def tool(self) -> tuple[str, str]:
        return "sqlite3", sqlite3.sqlite_version

    def load(self, plain: Readable) -> None:
        try:
            with create_private(self._staging) as file:
                pump(plain, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RestoreFailed(
                f"The scratch file {self._staging} could not be written: {error.strerror}. "
                f"The database {self._database.alias!r} was not touched."
            ) from error

    def copy_from(self, path: Path) -> None:
        """Fill the staging file with the data of another database file.

        :raises sqlite3.DatabaseError: that one cannot be read.
        """
        create_private(self._staging).close()
        with closing(open_read_only(path)) as source, closing(open_file(self._staging, mode="rw")) as staging:
            source.backup(staging)

    def survey(self) -> Survey:
        return survey_file(self._staging, self._database, "The restored file")

    def check(self, manifest: Manifest) -> Mapping[str, int]:
        return check_file(self._staging, self._database, manifest, manifest.name)

    def fetch_value(self, query: str) -> object:
        def fetch_row(interrupts: Interrupts) -> Any:
            with open_as_project(self._staging, self._database, interrupts, immutable=True) as connection:
                return connection.execute(query).fetchone()

        try:
            row = run_interruptibly(fetch_row)
        except sqlite3.DatabaseError as error:
            raise VerificationFailed(
                f"The verification query {query!r} fails on the restored data: {error}. "
                f"The database {self._database.alias!r} was not touched."
            ) from error
        return row[0] if row else None

    def switch(self) -> SwitchResult:
        """Replace the data, then keep or discard the old; nothing that fails after the switch makes it a failure."""
        existed = self._target.exists()  # else only journals are kept
        try:
            advice = self._replace_data()
        except sqlite3.DatabaseError as error:
            raise self._explain_failure(error) from error
        if not self._keep_old:
            with suppress(OSError):  # the workspace is removed in any case
                self._old_data.discard()
        if not self._keep_old or not self._old_data.exists:
            return SwitchResult(None, advice)
        try:
            path = self._old_data.keep()
        except OSError as error:
            path = self._old_data.path
            failure = f"The old data could not be moved out of the workspace ({error.strerror}): move {path} away."
            advice = f"{advice} {failure}".strip()
        return SwitchResult(str(path) if existed else None, advice)

    @abstractmethod
    def _replace_data(self) -> str:
        """Save the old data where it is to be kept, and replace it in one transaction.

        :returns: what the operator has to do now.
        """

    def _explain_failure(self, error: sqlite3.DatabaseError) -> RestoreFailed:
        alias = self._database.alias
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            return RestoreFailed(
                f"Another connection keeps the database {alias!r} locked, so nothing was changed. "
                f"Find it with `lsof {self._target}`, stop it, and restore again."
            )
        return RestoreFailed(
            f"SQLite could not write into {self._target}: {error}. The database {alias!r} is as it was."
        )


def check_file(
    path: Path, database: Database, manifest: Manifest, subject: str, *, indexes: bool = False
) -> Mapping[str, int]:
    """Check the structure of the database file *path*, and its row counts against *manifest*.

    :param database: names the backend, whose SQL functions the file may need.
    :param subject: what the file holds, for messages.
    :param indexes: compare every index with its table too.
    :returns: the rows by table.
    :raises VerificationFailed: the file is damaged, or differs from its manifest.
    """
    counts = survey_file(path, database, subject, indexes=indexes).rows
    compare_tables(manifest.tables, counts, subject)
    return counts


def survey_file(path: Path, database: Database, subject: str, *, indexes: bool = False) -> Survey:
    """Check the structure of the database file *path*, as :func:`check_file` does, and return what it holds.

    :raises VerificationFailed: the file is damaged.
    """

    def survey(interrupts: Interrupts) -> Survey:
        with closing(open_file(path, immutable="1")) as connection:
            connection.execute("SELECT 1 FROM sqlite_master")  # SQLite names a file that is none before Django opens it
        with open_as_project(path, database, interrupts, immutable=True) as connection:
            if damage := find_damage(connection, indexes=indexes):
                raise VerificationFailed(f"{subject} holds a damaged SQLite database: {damage}.")
            return Survey(count_rows(connection), fetch_migrations(connection))

    try:
        return run_interruptibly(survey)
    except sqlite3.DatabaseError as error:
        raise VerificationFailed(f"{subject} does not hold a readable SQLite database: {error}.") from error
