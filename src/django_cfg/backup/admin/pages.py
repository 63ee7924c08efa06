"""The overview, and what every page goes through: the permission to look, the settings that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from django_cfg.backup.admin.access import requires
from django_cfg.backup.admin.base import render
from django_cfg.backup.admin.overview import IN_FULL, make_cards, make_usage
from django_cfg.backup.admin.progress import run_progress
from django_cfg.backup.admin.snapshot import read_snapshot
from django_cfg.backup.errors import BackupError, BackupNotFound
from django_cfg.backup.models import Run
from django_cfg.backup.services.jobs.launch import describe_way
from django_cfg.backup.services.project.project import operation
from django_cfg.backup.services.runs.history_database import find_runs


def guarded(
    view: Callable[..., HttpResponseBase], site: AdminSite, request: HttpRequest, **options: Any
) -> HttpResponseBase:
    """Call *view* with the project read once; settings that cannot be used are a page, and not an error 500."""
    try:
        with operation():
            return view(site, request, **options)
    except BackupError as error:
        status = 404 if isinstance(error, BackupNotFound) else 409
        return render(site, request, "message", "Backups", {"text": str(error)}, status=status)


@requires("view_backup")
def overview(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """How everything is; with ``?database=`` one database in full."""
    snapshot = read_snapshot()
    only = request.GET.get("database")
    if only and only not in snapshot.project.aliases():
        raise Http404
    cards = make_cards(snapshot, only)
    context = {
        "snapshot": snapshot,
        "cards": cards,
        "in_full": only is not None or len(cards) <= IN_FULL,
        "only": only,
        "usage": make_usage(snapshot),
        "way": describe_way(snapshot.project),
    }
    return render(site, request, "overview", "Backups", context)


@requires("view_backup")
def run_state(site: AdminSite, request: HttpRequest, number: int) -> HttpResponse:
    """How far a running run is, for the script of its page; in words as the page itself has them."""
    run = find_runs().filter(pk=number).first()
    if run is None:
        raise Http404
    total = run.bytes_total or 0
    state = {
        "phase": run.state,
        "stage": run.stage,
        "done": run.bytes_done or 0,
        "total": total,
        "words": run_progress(run),
        "ended": run.state not in (Run.State.RUNNING, Run.State.QUEUED),
    }
    return JsonResponse(state)
