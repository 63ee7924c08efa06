"""backup_check as a page, and a test of the notifications."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse

from django_cfg.backup.admin.access import log, requires
from django_cfg.backup.admin.base import render
from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.services.monitoring.notifications import send_test_notifications
from django_cfg.backup.services.monitoring.preflight import run_preflight
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.queues import check_queues


@requires("create_backup")
def page(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Check all that a backup needs; it writes to the storage, so it takes a click."""
    project = current_project()
    findings: list[Finding] = []
    if request.method == "POST":
        findings = list(run_preflight(project, {"queue": lambda: check_queues(project)}))
    return _show(site, request, findings, "check" if findings else "")


@requires("create_backup", only_post=True)
def send_test(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Send a test through every channel."""
    findings = list(send_test_notifications(current_project()))
    log(request, "notifications", "Sent a test notification.")
    return _show(site, request, findings, "notify")


def _show(site: AdminSite, request: HttpRequest, findings: list[Finding], what: str) -> HttpResponse:
    worst = max((list(Level).index(finding.level) for finding in findings), default=0)
    context = {"findings": findings, "what": what, "worst": list(Level)[worst]}
    return render(site, request, "check", "Check", context)
