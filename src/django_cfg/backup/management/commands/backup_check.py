"""manage.py backup_check"""

from __future__ import annotations

from argparse import ArgumentParser
from itertools import chain
from typing import Any

from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.errors import BackupError, Unhealthy
from django_cfg.backup.formatting import counted
from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.exit_codes import UNHEALTHY, failing
from django_cfg.backup.services.monitoring.notifications import send_test_notifications
from django_cfg.backup.services.monitoring.preflight import run_preflight
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.queues import check_queues


class Command(BackupCommand):
    help = "Check all that a backup needs, without making one."
    exit_codes = failing("something failed, and backups will fail", UNHEALTHY)

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--notify", action="store_true", help="Send a test through every notification channel.")

    def run(self, *, notify: bool, **options: Any) -> Any:
        findings = []
        project = current_project()
        more = {"queue": lambda: check_queues(project)}
        for finding in chain(run_preflight(project, more), send_test_notifications(project) if notify else ()):
            findings.append(finding)
            self.show(self._line(finding))
        if error := _verdict(findings):
            self.print_document(findings)
            raise error
        return findings

    def _line(self, finding: Finding) -> str:
        style = {Level.OK: self.style.SUCCESS, Level.WARNING: self.style.WARNING, Level.FAILED: self.style.ERROR}
        return f"{style[finding.level](finding.level.ljust(7))}  {finding.subject}: {finding.text}"


def _verdict(findings: list[Finding]) -> BackupError | None:
    failed, warned = (sum(f.level is level for f in findings) for level in (Level.FAILED, Level.WARNING))
    if failed:
        return BackupError(f"{failed} of {len(findings)} checks failed; backups will fail until they are fixed.")
    return Unhealthy(f"{counted(warned, 'warning')} of {counted(len(findings), 'check')}.") if warned else None
