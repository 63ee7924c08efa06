"""How far a job is. It is shown without a database to who has started it: a restore may be replacing that database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.contrib.admin import AdminSite
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string

from django_cfg.backup.admin.access import log, may_do, requires, user_name
from django_cfg.backup.admin.base import redirect, render, url
from django_cfg.backup.admin.runs import run_progress
from django_cfg.backup.errors import BackupError
from django_cfg.backup.formatting import elapsed, megabytes
from django_cfg.backup.models import Run
from django_cfg.backup.services.jobs.find import find_board
from django_cfg.backup.services.jobs.job import Job, JobPhase, JobState
from django_cfg.backup.services.jobs.launch import launch
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project, current_project, operation
from django_cfg.backup.services.runs.history_database import find_runs

_VALID_FOR = timedelta(days=2)
_SALT = "django_cfg.backup.job"


def start(request: HttpRequest, project: Project, job: Job) -> HttpResponse:
    """Start *job* and go to its page, which the browser may see from now on also without a session."""
    launch(project, job)
    page = url(request, "job", job.id)
    answer = HttpResponseRedirect(page)
    answer.set_cookie(
        _cookie(job.id),
        signing.dumps(job.id, salt=_SALT),
        max_age=_VALID_FOR,
        path=page,
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )
    return answer


def page(request: HttpRequest, state: JobState) -> HttpResponse:
    """The page: it has a frame of its own, since the admin's frame asks the database who looks at it."""
    context = {
        "state": state,
        "lost": is_lost(state),
        "progress": _words(state),
        "address": url(request, "job_state", state.job.id),
        "back": url(request, "overview"),
        "detail": url(request, "backup"),
        "cancel": url(request, "cancel_job", state.job.id),
        "undo": _undo_address(request, state),
    }
    return HttpResponse(render_to_string("django_cfg_backup/job.html", context))


def state(request: HttpRequest, found: JobState) -> HttpResponse:
    """The state for the script of the page."""
    return JsonResponse(
        {
            "phase": found.phase,
            "stage": found.stage,
            "done": found.done,
            "total": found.total,
            "words": _words(found),
            "ended": found.has_ended or is_lost(found),
        }
    )


@requires("view_backup")
def run_state(site: AdminSite, request: HttpRequest, number: int) -> HttpResponse:
    """The state of a run of the history, for the script of the pages that show it; in words as those have them."""
    run = find_runs().filter(pk=number).first()
    if run is None:
        raise Http404
    return JsonResponse(
        {
            "phase": run.state,
            "stage": run.stage,
            "done": run.bytes_done or 0,
            "total": run.bytes_total or 0,
            "words": run_progress(run),
            "ended": run.state not in (Run.State.RUNNING, Run.State.QUEUED),
        }
    )


@requires("view_backup")
def cancel(site: AdminSite, request: HttpRequest, number: str) -> HttpResponse:
    """Ask once more; then let a job end, or never begin."""
    found = find_board(current_project(), number)
    if found is None or not may_do(request, found[1].job.kind):
        raise Http404
    board, state = found
    if request.method != "POST":
        return render(site, request, "cancel_job", f"Cancel: {state.job}?", {"state": state})
    board.cancel(user_name(request))
    log(request, str(state.job), "Cancelled.")
    return redirect(request, "job", number)


def is_lost(found: JobState) -> bool:
    """Return True if the process of the job seems to be gone."""
    return found.is_silent(clock.now())


def answer(
    view: Callable[..., HttpResponseBase], request: HttpRequest, number: str, site: AdminSite | None
) -> HttpResponseBase:
    """Answer with *view* of the job; *site*: for users who may do such a job; None: for its owner."""
    try:
        with operation():
            found = find_board(current_project(), number)
    except BackupError:
        found = None
    if found is None:
        raise Http404("There is no such job any more; the list of runs says how it ended.")
    if site is not None and not may_do(request, found[1].job.kind):
        raise Http404
    return view(request, found[1])


def is_owner(request: HttpRequest, number: str) -> bool:
    """Return True if this browser has started the job."""
    signed = request.COOKIES.get(_cookie(number), "")
    try:
        return bool(signed) and bool(signing.loads(signed, salt=_SALT, max_age=_VALID_FOR) == number)
    except signing.BadSignature:
        return False


def _cookie(number: str) -> str:
    return f"backup_job_{number}"


def _words(found: JobState) -> str:
    if not found.done:
        return ""
    total = f" of about {megabytes(found.total)}" if found.total else ""
    left = ""
    if found.rate and found.total > found.done:
        left = f", about {elapsed(timedelta(seconds=(found.total - found.done) / found.rate))} left"
    return f"{megabytes(found.done)}{total}, {megabytes(found.rate)}/s{left}"


def _undo_address(request: HttpRequest, found: JobState) -> str:
    """Return where the restore can be undone; empty where the engine cannot, or nothing was kept."""
    old_data, alias = found.result.get("old_data"), found.result.get("to")
    if found.phase is not JobPhase.SUCCEEDED or found.job.action != "restore" or not old_data or not alias:
        return ""
    try:
        with operation():
            can = current_project().engine(alias).can_undo
    except BackupError:
        return ""
    choice = found.job.restore
    return url(request, "undo", database=alias, old_data=old_data) if can and not (choice and choice.tables) else ""
