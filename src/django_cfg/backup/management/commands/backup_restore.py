"""manage.py backup_restore"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.errors import UsageError
from django_cfg.backup.management.command import BackupCommand, add_from_option, add_name_argument, add_yes_option
from django_cfg.backup.management.exit_codes import NOT_FOUND
from django_cfg.backup.management.output import restore
from django_cfg.backup.management.unlock_options import add_unlock_options, read_decryption_key
from django_cfg.backup.services.catalog.catalog import LATEST
from django_cfg.backup.services.catalog.moments import parse_moment
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.restore import (
    RestorePlan,
    RestoreReport,
    RestoreRequest,
    describe_skipped,
    execute_restore,
    plan_restore,
)
from django_cfg.backup.services.restore.resume import only_database, resume_restore
from django_cfg.backup.services.restore.sanitize import SanitizeChoice
from django_cfg.backup.services.restore.undo import undo_restore

_OF_A_BACKUP = {
    "--at": "at",
    "--from": "from_place",
    "--tables": "tables",
    "--in-place": "in_place",
    "--skip": "skip",
    "--skip-failing": "skip_failing",
    "--sanitize": "sanitize",
    "--unsanitized": "unsanitized",
}


class Command(BackupCommand):
    help = (
        "Restore a backup. Nothing is changed until the last step, and the old data is kept, unless the preview says "
        "otherwise."
    )
    exit_codes = NOT_FOUND

    def arguments(self, parser: ArgumentParser) -> None:
        add_name_argument(parser, optional=True)
        parser.add_argument(
            "--at",
            metavar="WHEN",
            help="Instead of NAME: the newest backup not later than this date and time, in TIME_ZONE unless it has an "
            "offset.",
        )
        add_yes_option(parser)
        add_unlock_options(parser)
        add_from_option(parser)
        restore.add_restore_options(parser)

    def run(self, *, name: str, database: str | None, to: str | None, yes: bool, **options: Any) -> Any:
        project = current_project()
        at = None if options["at"] is None else parse_moment(options["at"], project.zone)
        if options["resume"] or options["undo"]:
            _refuse_choice({"NAME": name != LATEST, **{option: options[key] for option, key in _OF_A_BACKUP.items()}})
            for alias in (given for given in (to, database) if given is not None):
                project.database(alias)
        if options["resume"]:
            return self._resume(to or database)
        if options["undo"]:
            return self._undo(to or database, options["undo"], yes=yes, disconnect=options["disconnect"])
        chosen = RestoreOptions(
            tuple(options["tables"]),
            options["in_place"],
            options["disconnect"],
            options["discard_old"],
            tuple(options["skip"]),
            options["skip_failing"],
            jobs=options["jobs"],
        )
        request = RestoreRequest(
            name,
            at,
            database,
            to,
            chosen,
            options["trust_storage"],
            options["allow_unsigned"],
            options["from_place"],
            read_decryption_key(options["private_key"], options["passphrase_fd"]),
            SanitizeChoice(options["sanitize"], options["unsanitized"]),
        )
        plan = plan_restore(request, self.progress)
        self.warn_of_damage(plan.catalog.damaged)
        self.warn_of_places(plan.catalog)
        self.stderr.write(restore.format_preview(plan), self.plain)
        self.ask(restore.confirmation_question(plan), yes=yes)
        return execute_restore(plan, self.progress, lambda report: self._report(plan, report))

    def _report(self, plan: RestorePlan, report: RestoreReport) -> None:
        self.show(restore.describe_result(plan, report))
        if report.skipped:
            self.warn(describe_skipped(report.skipped))
        self._report_old_data(report)
        if plan.migrations:
            self.warn(plan.migrations)
        self.print_document(report)

    def _report_old_data(self, report: RestoreReport) -> None:
        if report.old_data:
            self.show(f"Its old data is kept in {report.old_data}; delete it when you no longer need it.")
        if report.advice:
            self.warn(report.advice)

    def _undo(self, alias: str | None, old_data: str, *, yes: bool, disconnect: bool) -> Any:
        alias = alias or only_database(current_project())
        self.ask(f"Replace the database {alias!r} with {old_data}? What it holds now is kept.", yes=yes)
        report = undo_restore(alias, old_data, disconnect=disconnect, progress=self.progress)
        self.show(f"{alias} is again as it was before the restore.")
        self._report_old_data(report)
        return report

    def _resume(self, alias: str | None) -> Any:
        report = resume_restore(alias)
        self.show(f"The interrupted restore of {report.to} is finished.")
        self._report_old_data(report)
        return report


def _refuse_choice(given: Mapping[str, Any]) -> None:
    """Refuse what is about a backup where a restore is resumed or undone: it would be ignored.

    :raises UsageError: an option is *given*.
    """
    for option, value in given.items():
        if value:
            raise UsageError(f"{option} is about a backup to restore: leave it out with --resume and --undo.")
