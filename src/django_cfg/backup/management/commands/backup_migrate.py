"""manage.py backup_migrate"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any, cast

from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_cfg.backup.errors import BackupError
from django_cfg.backup.management.before_migrate import describe, describe_recovery, explain_failure, recovery_command
from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.exit_codes import failing
from django_cfg.backup.management.pre_migrate import received_by
from django_cfg.backup.services.creation.before_migrate import (
    BeforeMigrate,
    Plan,
    back_up_before_migrate,
    changes_real_data,
)
from django_cfg.backup.services.project.project import current_project

_LISTS_ONLY = ("plan", "check_unapplied", "prune", "fake")  # options of migrate that change no schema
_OWN = ("json", "stdout", "stderr", "no_color", "force_color")


class Command(BackupCommand):
    help = (
        "Back up each database that has migrations to apply, then run migrate with the same options. When a backup "
        "fails, nothing is migrated."
    )
    exit_codes = failing("the backup or the migration failed")

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **options)

    def arguments(self, parser: ArgumentParser) -> None:
        _migrate().add_arguments(cast(CommandParser, parser))
        parser.add_argument(
            "--database",
            metavar="ALIAS",
            action="append",
            dest="aliases",
            help='A database to migrate; may be repeated. Default: "default".',
        )
        parser.add_argument("--skip-checks", action="store_true", help="Skip the system checks that migrate runs.")

    def run(self, *, aliases: list[str] | None, **options: Any) -> Any:
        chosen = list(dict.fromkeys(aliases or ["default"]))
        for alias in chosen:
            current_project().database(alias)
        for name in _OWN:
            options.pop(name, None)
        if any(options.get(name) for name in _LISTS_ONLY):
            made = {}
        else:
            made = {alias: self._back_up(alias, plan) for alias, plan in self._pending(chosen, options) if plan}
        for alias in chosen:
            self._migrate(alias, made, options)
        return [{"database": alias, "backup": _name(made.get(alias))} for alias in chosen]

    def _pending(self, aliases: list[str], options: dict[str, Any]) -> list[tuple[str, Plan]]:
        """Ask migrate itself, of all databases before the first backup: what cannot be migrated needs none."""
        return [(alias, _plan(alias, options)) for alias in aliases]

    def _back_up(self, alias: str, plan: Plan) -> BeforeMigrate:
        try:
            made = back_up_before_migrate(alias, plan, self.progress)
        except BackupError as error:
            text = explain_failure(alias, error)
            self.print_document({"error": text})
            raise CommandError(text, returncode=error.exit_code) from error
        if made.warning:
            self.warn(made.warning)
        self.show(describe(made))
        return made

    def _migrate(self, alias: str, made: dict[str, BeforeMigrate], options: dict[str, Any]) -> None:
        stdout, stderr = self.stdout._out, self.stderr._out  # the wrapper ends each part of a line

        def back_up_late(plan: Plan) -> None:
            """What was not pending before is now: another deploy, or a migrate that sends several plans."""
            if plan and alias not in made and changes_real_data():
                made[alias] = self._back_up(alias, plan)

        with self._explained(alias, made), received_by(back_up_late):
            call_command(
                _migrate(), database=alias, stdout=stderr if self.as_json else stdout, stderr=stderr, **options
            )

    @contextmanager
    def _explained(self, alias: str, made: dict[str, BeforeMigrate]) -> Iterator[None]:
        """Say how to bring the database back if the block, its migration, fails or is interrupted."""
        try:
            yield
        except Exception as error:
            if isinstance(error.__cause__, BackupError):
                raise  # a late backup, which has said all
            advice = f"The migration of {alias!r} failed. Correct it and run migrate again{_way_back(alias, made)}"
            self.print_document({"error": f"{error} {advice}" if isinstance(error, CommandError) else advice})
            if isinstance(error, CommandError):
                raise CommandError(f"{error}\n{advice}", returncode=error.returncode) from error
            error.add_note(advice)  # the last line of the traceback
            raise
        except BaseException as ended:
            ended.add_note(
                f"The migrations of {alias!r} were interrupted; those that had ended stay applied, as `showmigrations` "
                f"shows. Run migrate again{_way_back(alias, made)}"
            )
            raise


def _way_back(alias: str, made: dict[str, BeforeMigrate]) -> str:
    before = made[alias].manifest if alias in made else None
    if before is None:
        return "."
    if before.partial:
        return f". {describe_recovery(before)}"
    return f", or bring back the database as it was before: {recovery_command(before)}"


class _PlanFound(BaseException):
    """Ends a migrate that was run to learn its plan; no Exception, which another app's migrate may catch."""


def _plan(alias: str, options: dict[str, Any]) -> Plan:
    """What migrate would apply to the database *alias*: it is run up to its signal ``pre_migrate``."""
    found: list[Plan] = []

    def end(plan: Plan) -> None:
        found.append(plan if changes_real_data() else ())
        raise _PlanFound

    try:
        with received_by(end):
            call_command(_migrate(), database=alias, stdout=StringIO(), **options)
    except _PlanFound:
        pass
    return found[0] if found else ()


def _migrate() -> BaseCommand:
    """The project's migrate, which may be another app's than Django's own."""
    app = get_commands()["migrate"]
    return app if isinstance(app, BaseCommand) else load_command_class(app, "migrate")


def _name(made: BeforeMigrate | None) -> str | None:
    return made.manifest.name if made and made.manifest else None
