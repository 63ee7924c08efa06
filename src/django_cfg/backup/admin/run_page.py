"""How far a running run is: for the script of the pages that show it."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from django_cfg.backup.admin.access import requires
from django_cfg.backup.admin.runs import run_progress
from django_cfg.backup.models import Run
from django_cfg.backup.services.runs.history_database import find_runs


@requires("view_backup")
def state(site: AdminSite, request: HttpRequest, number: int) -> HttpResponse:
    """How far a running run is, for the script of its page; in words as the page itself has them."""
    run = find_runs().filter(pk=number).first()
    if run is None:
        raise Http404
    total = run.bytes_total or 0
    found = {
        "phase": run.state,
        "stage": run.stage,
        "done": run.bytes_done or 0,
        "total": total,
        "words": run_progress(run),
        "ended": run.state not in (Run.State.RUNNING, Run.State.QUEUED),
    }
    return JsonResponse(found)
