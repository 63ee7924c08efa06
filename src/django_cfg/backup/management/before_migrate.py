"""A backup before the first migration, or no migration: what ``migrate`` and ``backup_migrate`` print of it."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from django_cfg.backup.errors import AlreadyRunning, BackupError
from django_cfg.backup.management.command import exit_on_signals
from django_cfg.backup.management.output.progress import TerminalProgress
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.creation.before_migrate import (
    BeforeMigrate,
    Plan,
    back_up_before_migrate,
    changes_real_data,
    is_wanted,
)
from django_cfg.backup.services.restore.restore import describe_left_out


def back_up_or_stop(using: str, plan: Plan, verbosity: int, stdout: Any) -> None:
    """Back up the database *using* before *plan*, where the configuration asks for it.

    :raises CommandError: there is no backup, so nothing may be migrated.
    """
    progress = TerminalProgress(OutputWrapper(sys.stderr), quiet=verbosity == 0)
    try:
        if not changes_real_data() or not is_wanted():
            return
        with exit_on_signals():
            made = back_up_before_migrate(using, plan, progress)
    except BackupError as error:
        advice = 'To migrate without a backup, set BackupConfig.before_migrate to "off".'
        raise CommandError(f"{explain_failure(using, error)} {advice}", returncode=error.exit_code) from error
    if made.warning:
        progress.say(f"Careful: {made.warning}")
    if verbosity > 0:
        print(describe(made), file=stdout or sys.stdout)


def explain_failure(alias: str, error: BackupError) -> str:
    """Say that nothing was migrated, since there is no backup, and what to do."""
    if isinstance(error, AlreadyRunning):
        advice = "When that backup has ended (`backup_status`), run this command again."
    else:
        advice = "Correct that (`backup_check` shows more), then run this command again."
    return f"Nothing was migrated: the backup of {alias!r} that comes before could not be made. {error} {advice}"


def describe(made: BeforeMigrate) -> str:
    """One line on what was done before the migrations."""
    if made.manifest is None:
        return f"No backup of {made.alias} before its migrations: {made.reason}."
    return f"Backed up {made.alias} as {made.manifest.name}, {made.manifest.note}. {describe_recovery(made.manifest)}"


def describe_recovery(manifest: Manifest) -> str:
    """How to bring back the database, and what of it the backup does not hold."""
    way = f"If a migration fails, bring it back: {recovery_command(manifest)}"
    if manifest.partial:
        return (
            "It holds only some tables (include_tables), so it cannot bring back the database; into an empty one: "
            f"{recovery_command(manifest)} --to ALIAS"
        )
    return f"{describe_left_out(manifest)} {way}".lstrip()


def recovery_command(manifest: Manifest) -> str:
    return f"manage.py backup_restore {manifest.name}"
