"""manage.py backup_cancel"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.errors import UsageError
from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.exit_codes import NO_RUN
from django_cfg.backup.models import Run
from django_cfg.backup.services.project.actor import current_actor
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.runs.cancel import cancel_run, choose_run, describe_run, wait_for_end


class Command(BackupCommand):
    help = (
        "Cancel a backup, verification or restore that is running: it ends at its next step and leaves nothing. A "
        "restore that has begun to change its database ends as it would."
    )
    exit_codes = NO_RUN

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "number",
            metavar="RUN",
            nargs="?",
            type=int,
            help="The number of the run, as the admin and this command show it; none: the one that is running.",
        )
        parser.add_argument("--database", metavar="ALIAS", help="Only a run of this database.")
        parser.add_argument(
            "--wait", metavar="SECONDS", type=int, default=30, help="How long to wait for its end; default: 30."
        )

    def run(self, *, number: int | None, database: str | None, wait: int, **options: Any) -> Any:
        if wait < 0:
            raise UsageError("--wait takes a number of seconds that is not negative.")
        chosen = choose_run(current_project(), number, database)
        cancel_run(chosen.pk, current_actor())
        if not wait:
            self.show(f"{describe_run(chosen)} is to end at its next step.")
            return _document(chosen)
        ended = wait_for_end(chosen, wait)
        self.show(f"{describe_run(ended)} is cancelled.")
        return _document(ended)


def _document(row: Run) -> dict[str, Any]:
    return {"run": row.pk, "kind": row.kind, "database": row.database, "state": row.state}
