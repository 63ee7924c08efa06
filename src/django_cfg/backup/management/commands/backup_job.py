"""manage.py backup_job: what the admin starts in a process of its own; not for people."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.errors import BackupNotFound
from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.exit_codes import NOT_FOUND
from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.job import JobPhase
from django_cfg.backup.services.jobs.perform import perform_once


class Command(BackupCommand):
    help = "Do a job that was asked for in the admin, which starts this command."
    exit_codes = NOT_FOUND

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("number", metavar="JOB", help="The number of the job.")

    def run(self, *, number: str, **options: Any) -> Any:
        board = FileBoard(number)
        state = board.read()
        ended = perform_once(state.job, board, state.where) if state and state.phase is JobPhase.WAITING else None
        if ended is None:
            raise BackupNotFound(f"No job {number} waits here: it was begun, or its file is gone.")
        self.show(f"{ended.job}: {ended.phase}. {ended.message}")
        return ended
