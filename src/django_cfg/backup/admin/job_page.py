"""How far a job is. It is shown without a database to who has started it: a restore may be replacing that database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.contrib.admin import AdminSite
from django.contrib.auth.decorators import login_not_required
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse

from django_cfg.backup.admin.access import may
from django_cfg.backup.admin.base import url
from django_cfg.backup.errors import BackupError
from django_cfg.backup.formatting import elapsed, megabytes
from django_cfg.backup.services.jobs.find import find_board
from django_cfg.backup.services.jobs.job import Job, JobPhase, JobState
from django_cfg.backup.services.jobs.launch import launch
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project, current_project, operation

_VALID_FOR = timedelta(days=2)
_SALT = "django_cfg.backup.job"
_PERMISSIONS = {
    "backup": "create_backup",
    "verify": "verify_backup",
    "drill": "verify_backup",
    "restore": "restore_backup",
    "undo": "restore_backup",
    "prune": "prune_backups",
}


def start(request: HttpRequest, project: Project, job: Job) -> HttpResponse:
    """Start *job* and go to its page, which the browser may see from now on also without a session."""
    launch(project, job)
    answer = HttpResponseRedirect(_address("job", job.id))
    answer.set_cookie(
        _cookie(job.id),
        signing.dumps(job.id, salt=_SALT),
        max_age=_VALID_FOR,
        path=_address("job", job.id),
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )
    return answer


def for_its_owner(view: Callable[..., HttpResponseBase], site: AdminSite) -> Callable[..., HttpResponseBase]:
    """Let *view* be seen by the browser that has started the job, and by users who may do such a job."""

    def for_users(request: HttpRequest, number: str) -> HttpResponseBase:
        return _answer(view, request, number, site)

    guarded = site.admin_view(for_users)

    @login_not_required
    def for_anyone(request: HttpRequest, number: str) -> HttpResponseBase:
        return _answer(view, request, number, None) if _is_owner(request, number) else guarded(request, number)

    return for_anyone


def page(request: HttpRequest, state: JobState) -> HttpResponse:
    """The page: it has a frame of its own, since the admin's frame asks the database who looks at it."""
    context = {
        "state": state,
        "lost": is_lost(state),
        "progress": _words(state),
        "address": _address("job_state", state.job.id),
        "back": url("overview"),
        "detail": url("backup"),
        "undo": _undo_address(state),
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


def is_lost(found: JobState) -> bool:
    """Return True if the process of the job seems to be gone."""
    return found.is_silent(clock.now())


def _answer(
    view: Callable[..., HttpResponseBase], request: HttpRequest, number: str, site: AdminSite | None
) -> HttpResponseBase:
    try:
        with operation():
            found = find_board(current_project(), number)
    except BackupError:
        found = None
    if found is None:
        raise Http404("There is no such job any more; the list of runs says how it ended.")
    job = found[1].job
    if site is not None and not may(request, _PERMISSIONS[job.action]):
        raise Http404
    return view(request, found[1])


def _is_owner(request: HttpRequest, number: str) -> bool:
    signed = request.COOKIES.get(_cookie(number), "")
    try:
        return bool(signed) and bool(signing.loads(signed, salt=_SALT, max_age=_VALID_FOR) == number)
    except signing.BadSignature:
        return False


def _cookie(number: str) -> str:
    return f"backup_job_{number}"


def _address(name: str, number: str) -> str:
    return reverse(f"admin:django_cfg_backup_{name}", args=[number])


def _words(found: JobState) -> str:
    if not found.done:
        return ""
    total = f" of about {megabytes(found.total)}" if found.total else ""
    left = ""
    if found.rate and found.total > found.done:
        left = f", about {elapsed(timedelta(seconds=(found.total - found.done) / found.rate))} left"
    return f"{megabytes(found.done)}{total}, {megabytes(found.rate)}/s{left}"


def _undo_address(found: JobState) -> str:
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
    return url("undo", database=alias, old_data=old_data) if can and not (choice and choice.tables) else ""
