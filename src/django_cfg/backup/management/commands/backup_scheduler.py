"""manage.py backup_scheduler"""

from __future__ import annotations

import logging
import threading
from argparse import ArgumentParser
from typing import Any

from django.db import close_old_connections

from django_cfg.backup.errors import BackupError, UsageError
from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.output.ticks import format_tick
from django_cfg.backup.services.creation.batch import Failure
from django_cfg.backup.services.jobs.perform import perform_waiting
from django_cfg.backup.services.project.project import current_project, require_enabled
from django_cfg.backup.services.schedule.tick import TickReport, tick

_log = logging.getLogger("django_cfg.backup")


class Command(BackupCommand):
    help = "Run the due backups in this process until it is stopped; needs no Redis. SIGTERM stops it cleanly."

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--every",
            type=int,
            default=30,
            metavar="SECONDS",
            help="Seconds between checks for due backups (default: 30).",
        )

    def run(self, *, every: int, **options: Any) -> Any:
        require_enabled(current_project().config)
        if every < 1:
            raise UsageError("--every takes at least 1 second.")
        pause = threading.Event()
        self.progress.say("The scheduler is running.")
        try:
            while True:
                self._tick()
                pause.wait(every)
        except (SystemExit, KeyboardInterrupt):
            # The ordinary end. A backup that was interrupted has been rolled back, recorded and sent as failed.
            self.progress.say("The scheduler has stopped.")

    def _tick(self) -> None:
        """Check once; an error in a check does not end the scheduler."""
        close_old_connections()
        try:
            self._show(tick(in_place=True, progress=self.progress))
            perform_waiting()
        except BackupError as error:
            self.warn(str(error))
        except Exception:  # noqa: BLE001
            _log.exception("A check for due backups failed unexpectedly; the next one is made as usual")

    def _show(self, ticked: TickReport) -> None:
        for line in format_tick(ticked):
            self.show(line)
        self.stdout.flush()  # into a pipe, to a log, lines would wait for more
        failures = [result.error for result in (*ticked.results, *ticked.verified) if isinstance(result, Failure)]
        for error in (*ticked.problems, *failures):
            self.warn(str(error))
