"""The history, live; and the addresses of all pages, which Django's admin asks of a model."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from django_cfg.backup.admin.access import may, may_do
from django_cfg.backup.admin.base import BaseAdmin, address, shared_context
from django_cfg.backup.admin.views import job_view, page_view
from django_cfg.backup.errors import BackupError
from django_cfg.backup.formatting import elapsed, megabytes
from django_cfg.backup.models import Run
from django_cfg.backup.services.project import clock

_PAGES = {  # the last part of an address, and the view of this package
    "backups": "backups.list_page",
    "backup": "backups.detail_page",
    "retention": "retention.page",
    "check": "check.page",
    "restore": "restore.page",
    "create": "actions.create",
    "verify": "actions.verify",
    "drill": "actions.drill",
    "pin": "actions.pin",
    "unpin": "actions.unpin",
    "delete": "actions.delete",
    "download": "download.download",
    "prune": "actions.prune",
    "undo": "actions.undo",
    "cancel": "actions.cancel",
    "test_notification": "check.send_test",
}


class RunAdmin(BaseAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    """To read, not to change: it is what happened."""

    list_display = ("when", "what", "outcome", "took", "who", "backup")
    list_display_links = ("when",)
    list_filter = ("kind", "state", "database", "trigger")
    search_fields = ("name", "message", "old_data", "started_by")
    list_per_page = 100
    change_list_template = "django_cfg_backup/runs.html"
    change_form_template = "django_cfg_backup/run.html"

    def get_urls(self) -> list[URLPattern]:
        site = self.admin_site
        own = [
            path("", page_view("overview.page", site), name="django_cfg_backup_overview"),
            path("", page_view("overview.page", site), name="django_cfg_backup_run_changelist"),
            path("runs/", site.admin_view(self.changelist_view), name="django_cfg_backup_runs"),
            path("job/<str:number>/", job_view("job_page.page", site), name="django_cfg_backup_job"),
            path("job/<str:number>/state/", job_view("job_page.state", site), name="django_cfg_backup_job_state"),
            path("job/<str:number>/cancel/", page_view("job_page.cancel", site), name="django_cfg_backup_cancel_job"),
            path("<int:number>/state/", page_view("job_page.run_state", site), name="django_cfg_backup_run_state"),
        ]
        own += [
            path(f"{name.replace('_', '-')}/", page_view(view, site), name=f"django_cfg_backup_{name}")
            for name, view in _PAGES.items()
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        more = shared_context(self.admin_site, request, "Runs")
        answer = super().changelist_view(request, {**more, **(extra_context or {})})
        changes: Any = (getattr(answer, "context_data", None) or {}).get("cl")
        if changes is not None:  # its page is rendered later
            changes.result_list = list(changes.result_list)
            self._note_what_is_stored(changes.result_list)
        return answer

    def _note_what_is_stored(self, runs: list[Any]) -> None:
        """Let each run know whether its backup is still there; None where the storage does not say."""
        if not any(run.name for run in runs):
            return
        from django_cfg.backup.services.monitoring.snapshot import read_backups

        try:
            catalog = read_backups().catalog
        except BackupError:
            catalog = None
        names = {manifest.name for manifest in catalog.backups} if catalog else None
        for run in runs:
            run.is_stored = None if names is None else run.name in names

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        run = self.get_object(request, object_id)
        more = {
            **shared_context(self.admin_site, request, "Run"),
            "run": run,
            "live": live_text(run) if run else "",
            "can_cancel": run is not None and may_do(request, run.kind),
            "is_open": run is not None and run.state in (Run.State.QUEUED, Run.State.RUNNING),
        }
        return super().change_view(request, object_id, form_url, {**more, **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return may(request, "view_backup")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may(request, "view_backup")

    @admin.display(description="when", ordering="-id")
    def when(self, run: Run) -> str:
        moment = run.started_at or run.slot or run.queued_at
        return f"{elapsed(clock.now() - moment)} ago" if moment else "?"

    @admin.display(description="what", ordering="kind")
    def what(self, run: Run) -> str:
        return f"{run.get_kind_display()} of {run.database or 'all databases'}"

    @admin.display(description="how it ended", ordering="state")
    def outcome(self, run: Run) -> SafeString:
        badge = format_html('<span class="backup-badge {}">{}</span>', run.state, run.get_state_display())
        if run.state == Run.State.RUNNING:
            state = address(self.admin_site.name, "run_state", run.pk)
            return format_html('{} <span data-backup-state="{}">{}</span>', badge, state, live_text(run))
        return format_html("{} {}", badge, Truncator(run.message).chars(200))

    @admin.display(description="took", ordering="size")
    def took(self, run: Run) -> str:
        took = elapsed((run.finished_at or clock.now()) - run.started_at) if run.started_at else ""
        return ", ".join(filter(None, (took, "" if run.size is None else megabytes(run.size))))

    @admin.display(description="started by", ordering="started_by")
    def who(self, run: Run) -> str:
        return run.started_by or run.trigger

    @admin.display(description="backup")
    def backup(self, run: Run) -> str | SafeString:
        is_stored = getattr(run, "is_stored", None)
        if not run.name or run.state != Run.State.SUCCEEDED or is_stored is None:
            return run.name
        if not is_stored:
            return f"{run.name}, deleted since"
        page = address(self.admin_site.name, "backup", name=run.name)
        return format_html('<a href="{}">{}</a>', page, run.name)


def live_text(run: Run) -> str:
    """How far a running run is."""
    return " ".join(filter(None, (run.stage or "It has begun.", run_progress(run))))


def run_progress(run: Run) -> str:
    """Return the bytes and the rate of the present stage; empty while nothing is known."""
    if not run.bytes_done:
        return ""
    total = f" of about {megabytes(run.bytes_total)}" if run.bytes_total else ""
    return f"({megabytes(run.bytes_done)}{total}{_rate(run, run.bytes_done)})"


def _rate(run: Run, done: int) -> str:
    if not run.started_at or not run.heartbeat_at:
        return ""
    seconds = max((run.heartbeat_at - run.started_at) / timedelta(seconds=1), 1.0)
    return f", {megabytes(int(done / seconds))}/s"
