"""manage.py backup_tick"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.exit_codes import SOME_FAILED
from django_cfg.backup.management.output.ticks import format_tick
from django_cfg.backup.services.jobs.perform import perform_waiting
from django_cfg.backup.services.schedule.tick import tick


class Command(BackupCommand):
    help = (
        "Start the backups that are due, once a minute: from cron, systemd, Kubernetes. Without a queue they run here."
    )
    exit_codes = SOME_FAILED

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--in-place", action="store_true", help="Run them here although there is a queue.")

    def run(self, *, in_place: bool, **options: Any) -> Any:
        ticked = tick(in_place=in_place or None, progress=self.progress)
        perform_waiting()
        lines = list(format_tick(ticked))
        for line in lines:
            self.show(line)
        if not lines and not ticked.problems and sys.stdout.isatty():  # in a crontab it would be a mail a minute
            self.show("Nothing is due.")
        self.print_document(ticked)
        ticked.raise_problems()
        if ticked.error:
            raise ticked.error
        return ticked
