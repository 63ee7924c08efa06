"""What a click does: back up, verify, drill, pin, delete, prune, undo, cancel.

Everything is a POST. What takes long is a job; a form that asks for a name or a password is shown by a GET.
"""

from __future__ import annotations

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse

from django_cfg.backup.admin.access import (
    database_name,
    log,
    may_do,
    require_alias,
    require_password,
    require_typed,
    requires,
    user_name,
)
from django_cfg.backup.admin.base import redirect, refuse, render
from django_cfg.backup.admin.job_page import start
from django_cfg.backup.errors import BackupError
from django_cfg.backup.manifest import MAX_NOTE, Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.catalog import Catalog, Damaged
from django_cfg.backup.services.jobs.job import Action, Job
from django_cfg.backup.services.monitoring.snapshot import read_catalog_now
from django_cfg.backup.services.project.actor import acting_as
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.retention.delete import delete_chosen, find_damaged, require_unprotected
from django_cfg.backup.services.retention.pins import pin_backup, unpin_backup
from django_cfg.backup.services.runs.cancel import cancel_run


@requires("create_backup", only_post=True)
def create(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Back up one database, or all."""
    project = current_project()
    chosen = tuple(require_alias(project, alias) for alias in request.POST.getlist("database") if alias)
    job = Job(action="backup", by=user_name(request), databases=chosen, note=request.POST.get("note", "")[:MAX_NOTE])
    return _start(request, project, job)


@requires("verify_backup", only_post=True)
def verify(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Read a backup to its last byte."""
    return _start_with_name(request, "verify")


@requires("verify_backup", only_post=True)
def drill(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Restore a backup into a scratch, and compare."""
    return _start_with_name(request, "drill")


def _start_with_name(request: HttpRequest, action: Action) -> HttpResponse:
    project, manifest = _chosen(request)
    return _start(request, project, Job(action=action, by=user_name(request), names=(manifest.name,)))


def _start(request: HttpRequest, project: Project, job: Job) -> HttpResponse:
    log(request, ", ".join(job.names or job.databases) or "all databases", f"Asked for: {job}.")
    try:
        return start(request, project, job)
    except BackupError as error:
        refuse(request, error)
        return redirect(request, "overview")


@requires("pin_backup", only_post=True)
def pin(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Pin a backup, with a reason."""
    project, manifest = _chosen(request)
    why = request.POST.get("why", "")[:MAX_NOTE]
    with acting_as(user_name(request)):
        pin_backup(project, manifest, why)
    return _done(request, manifest, f"Pinned: {why}" if why else "Pinned")


@requires("pin_backup", only_post=True)
def unpin(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Take the pin away."""
    project, manifest = _chosen(request)
    unpin_backup(project, manifest)
    return _done(request, manifest, "The pin was taken away")


@requires("delete_backup")
def delete(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Delete one backup for good, after its name was typed; or what is left of a damaged one."""
    project = current_project()
    catalog = read_catalog_now(project)
    name = request.POST.get("name") or request.GET.get("name", "")
    chosen = find_damaged(catalog, name) or _find(catalog, name)
    if not _is_own(project, chosen):
        raise Http404
    try:
        if isinstance(chosen, Manifest):
            require_unprotected(catalog, chosen)
    except BackupError as error:
        refuse(request, error)
        return redirect(request, "backup", name=name)
    if request.method != "POST":
        return render(site, request, "delete", f"Delete {name}?", {"name": name, "chosen": chosen})
    return _delete(request, project, chosen)


def _delete(request: HttpRequest, project: Project, chosen: Manifest | Damaged) -> HttpResponse:
    try:
        require_typed(request, chosen.name)
        delete_chosen(project, read_catalog_now(project), chosen)
    except BackupError as error:
        refuse(request, error)
        return redirect(request, "delete", name=chosen.name)
    log(request, chosen.name, "Deleted.")
    messages.success(request, f"Deleted: {chosen.name}")
    return redirect(request, "backups")


@requires("prune_backups", only_post=True)
def prune(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Delete what was shown as due."""
    names = tuple(request.POST.getlist("due"))
    if not names:
        messages.info(request, "Nothing was due.")
        return redirect(request, "retention")
    return _start(request, current_project(), Job(action="prune", by=user_name(request), names=names))


@requires("restore_backup")
def undo(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Switch back to the old data of a restore, after the database's name and the password."""
    project = current_project()
    if not project.allows_web_restore:
        raise Http404
    alias, old_data = (request.POST.get(key) or request.GET.get(key, "") for key in ("database", "old_data"))
    name = database_name(project, require_alias(project, alias))
    if request.method == "POST":
        try:
            require_typed(request, name)
            require_password(request)
        except BackupError as error:
            refuse(request, error)
            return redirect(request, "undo", database=alias, old_data=old_data)
        job = Job(action="undo", by=user_name(request), databases=(alias,), undo=(alias, old_data))
        return _start(request, project, job)
    context = {"alias": alias, "old_data": old_data, "database_name": name}
    return render(site, request, "undo", f"Undo the restore of {alias}?", context)


@requires("view_backup", only_post=True)
def cancel(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """End a run that is under way, or one that waits."""
    number = request.POST.get("run", "")
    run = Run.objects.filter(pk=number).first() if number.isdecimal() else None
    if run is None or not may_do(request, run.kind):
        raise Http404
    if cancel_run(run.pk, user_name(request)):
        log(request, str(run), "Cancelled.")
        messages.success(request, f"Cancelled: the {run} ends at its next step.")
    else:
        messages.info(request, f"The {run} has ended already.")
    return redirect(request, "runs")


def _chosen(request: HttpRequest) -> tuple[Project, Manifest]:
    """The backup that a form names, by exactly that name."""
    project = current_project()
    manifest = _find(read_catalog_now(project), request.POST.get("name", ""))
    if not _is_own(project, manifest):
        raise Http404
    return project, manifest


def _find(catalog: Catalog, name: str) -> Manifest:
    """
    :raises Http404: there is no intact backup of exactly this name.
    """
    for manifest in catalog.backups:
        if manifest.name == name:
            return manifest
    raise Http404(f"There is no intact backup of the name {name!r}.")


def _is_own(project: Project, chosen: Manifest | Damaged) -> bool:
    """Whether it is of this project and environment, or nothing can say whose it is."""
    manifest = chosen.manifest if isinstance(chosen, Damaged) else chosen
    return manifest is None or project.owns(manifest.source)


def _done(request: HttpRequest, manifest: Manifest, what: str) -> HttpResponse:
    log(request, manifest.name, what)
    messages.success(request, what)
    return redirect(request, "backup", name=manifest.name)
