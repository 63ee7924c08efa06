"""What a click does: back up, verify, drill, pin, delete, download, prune, undo, cancel.

Everything is a POST. What takes long is a job; a form that asks for a name or a password is shown by a GET.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_POST

from django_cfg.backup.admin.access import log, may, require_password, require_typed, requires
from django_cfg.backup.admin.backups import find_row
from django_cfg.backup.admin.base import redirect, refuse, render
from django_cfg.backup.admin.job_page import start
from django_cfg.backup.admin.names import database_name
from django_cfg.backup.admin.snapshot import read_backups
from django_cfg.backup.errors import BackupError, UsageError
from django_cfg.backup.manifest import MAX_NOTE, Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.pipeline.encryption.decryption_keys import decryption_keys
from django_cfg.backup.services.catalog.archives import open_archive
from django_cfg.backup.services.catalog.catalog import Damaged, find_backup, read_catalog
from django_cfg.backup.services.catalog.download import plain_name
from django_cfg.backup.services.jobs.job import Job
from django_cfg.backup.services.project.actor import acting_as
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.retention.delete import delete_chosen, find_damaged, require_unprotected
from django_cfg.backup.services.retention.pins import pin_backup, unpin_backup
from django_cfg.backup.services.runs.cancel import cancel_run

CANCELS = {
    Run.Kind.BACKUP.value: "create_backup",
    Run.Kind.VERIFICATION.value: "verify_backup",
    Run.Kind.RESTORE.value: "restore_backup",
    Run.Kind.PRUNE.value: "prune_backups",
}
_BLOCK = 1 << 16  # bytes


def user_name(request: HttpRequest) -> str:
    return str(request.user.get_username())


@requires("create_backup")
def create(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Back up one database, or all."""
    return _create(request)


@require_POST
def _create(request: HttpRequest) -> HttpResponse:
    project = current_project()
    chosen = tuple(alias for alias in request.POST.getlist("database") if alias)
    for alias in chosen:
        project.database(alias)
    job = Job(action="backup", by=user_name(request), databases=chosen, note=request.POST.get("note", "")[:MAX_NOTE])
    return _start(request, project, job)


@requires("verify_backup")
def verify(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Read a backup to its last byte."""
    return _start_with_name(request, "verify")


@requires("verify_backup")
def drill(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Restore a backup into a scratch, and compare."""
    return _start_with_name(request, "drill")


@require_POST
def _start_with_name(request: HttpRequest, action: Any) -> HttpResponse:
    project, manifest = _chosen(request)
    return _start(request, project, Job(action=action, by=user_name(request), names=(manifest.name,)))


def _start(request: HttpRequest, project: Project, job: Job) -> HttpResponse:
    log(request, ", ".join(job.names or job.databases) or "all databases", f"Started: {job}.")
    try:
        return start(request, project, job)
    except BackupError as error:
        refuse(request, error)
        return redirect("overview")


@requires("pin_backup")
def pin(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Pin a backup, with a reason."""
    return _pin(request)


@require_POST
def _pin(request: HttpRequest) -> HttpResponse:
    project, manifest = _chosen(request)
    why = request.POST.get("why", "")[:MAX_NOTE]
    with acting_as(user_name(request)):
        pin_backup(project.storage, manifest, why)
    return _done(request, manifest, f"Pinned: {why}" if why else "Pinned.")


@requires("pin_backup")
def unpin(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Take the pin away."""
    return _unpin(request)


@require_POST
def _unpin(request: HttpRequest) -> HttpResponse:
    project, manifest = _chosen(request)
    unpin_backup(project.storage, manifest)
    return _done(request, manifest, "The pin was taken away.")


@requires("delete_backup")
def delete(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Delete one backup for good, after its name was typed."""
    project = current_project()
    catalog = read_catalog(project.storage, project.signing_keys)
    name = request.POST.get("name") or request.GET.get("name", "")
    chosen = find_damaged(catalog, name) or find_backup(catalog, project, name)
    if chosen.name != name or not _is_own(project, chosen):
        raise Http404
    try:
        if isinstance(chosen, Manifest):
            require_unprotected(catalog, chosen)
        if request.method == "POST":
            require_typed(request, name)
            log(request, name, "Deleted.")
            delete_chosen(project.storage, chosen)
            messages.success(request, f"{name} is deleted.")
            return redirect("backups")
    except BackupError as error:
        refuse(request, error)
        if request.method == "POST" or not isinstance(error, UsageError):
            return redirect("delete", name=name) if request.method == "POST" else redirect("backups")
        return redirect("backup", name=name)
    return render(site, request, "delete", f"Delete {name}?", {"name": name})


@requires("download_backup")
def download(site: AdminSite, request: HttpRequest) -> HttpResponseBase:
    """Stream a backup, as stored or as the dump tool wrote it; after the password was entered again."""
    project = current_project()
    if not project.allows_web_download:
        raise Http404
    row = find_row(read_backups(), request.POST.get("name") or request.GET.get("name", ""))
    manifest = row.manifest
    if not project.owns(manifest.source):
        raise Http404
    if request.method != "POST":
        return render(site, request, "download", f"Download {manifest.name}", {"manifest": manifest})
    is_plain = request.POST.get("form") == "plain"
    try:
        require_password(request)
        blocks = _plain(project, manifest) if is_plain else _stored(project, manifest)
        first = next(blocks, b"")  # a storage or a key that is missing is found now, and not in the middle of a file
    except BackupError as error:
        refuse(request, error)
        return redirect("download", name=manifest.name)
    log(request, manifest.name, f"Downloaded, {'plain' if is_plain else 'as stored'}.")
    answer = StreamingHttpResponse(_rest(first, blocks), content_type="application/octet-stream")
    name = plain_name(manifest) if is_plain else manifest.archive_key
    answer["Content-Disposition"] = f'attachment; filename="{name.rpartition("/")[2]}"'
    answer["Content-Length"] = str(manifest.archive.raw_size if is_plain else manifest.archive.size)
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "no-store"
    return answer


def _rest(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """All blocks. What is not as stored ends the transfer before its length: no browser takes that for a file."""
    yield first
    yield from blocks


def _stored(project: Project, manifest: Manifest) -> Iterator[bytes]:
    with ExitStack() as stack:
        stored = stack.enter_context(project.storage.open(manifest.archive_key))
        while block := stored.read(_BLOCK):
            yield block


def _plain(project: Project, manifest: Manifest) -> Iterator[bytes]:
    keys = decryption_keys(project.config)
    with open_archive(project.storage, manifest, keys, lambda count: None) as plain:
        while block := plain.read(_BLOCK):
            yield block


@requires("prune_backups")
def prune(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Delete what was shown as due."""
    return _prune(request)


@require_POST
def _prune(request: HttpRequest) -> HttpResponse:
    names = tuple(request.POST.getlist("due"))
    if not names:
        messages.info(request, "Nothing was due.")
        return redirect("retention")
    return _start(request, current_project(), Job(action="prune", by=user_name(request), names=names))


@requires("restore_backup")
def undo(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Switch back to the old data of a restore, after the database's name and the password."""
    project = current_project()
    if not project.allows_web_restore:
        raise Http404
    alias, old_data = (request.POST.get(key) or request.GET.get(key, "") for key in ("database", "old_data"))
    name = database_name(project, alias)
    if request.method == "POST":
        try:
            require_typed(request, name)
            require_password(request)
        except BackupError as error:
            refuse(request, error)
            return redirect("undo", database=alias, old_data=old_data)
        job = Job(action="undo", by=user_name(request), databases=(alias,), undo=(alias, old_data))
        return _start(request, project, job)
    context = {"alias": alias, "old_data": old_data, "database_name": name}
    return render(site, request, "undo", f"Undo the restore of {alias}?", context)


@requires("view_backup")
def cancel(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """End a run that is under way, or one that waits."""
    return _cancel(request)


@require_POST
def _cancel(request: HttpRequest) -> HttpResponse:
    run = Run.objects.filter(pk=request.POST.get("run") or 0).first()
    if run is None:
        raise Http404
    if not may(request, CANCELS[run.kind]):
        raise Http404
    if cancel_run(run.pk, user_name(request)):
        log(request, str(run), "Cancelled.")
        messages.success(request, f"{run} is being cancelled: it ends at its next step.")
    else:
        messages.info(request, f"{run} has ended already.")
    return redirect("runs")


def _chosen(request: HttpRequest) -> tuple[Project, Manifest]:
    """The backup that a form names, by exactly that name."""
    project = current_project()
    name = request.POST.get("name", "")
    manifest = find_backup(read_catalog(project.storage, project.signing_keys), project, name)
    if manifest.name != name or not project.owns(manifest.source):
        raise Http404
    return project, manifest


def _is_own(project: Project, chosen: Manifest | Damaged) -> bool:
    """Whether it is of this project and environment, or nothing can say whose it is."""
    manifest = chosen.manifest if isinstance(chosen, Damaged) else chosen
    return manifest is None or project.owns(manifest.source)


def _done(request: HttpRequest, manifest: Manifest, what: str) -> HttpResponse:
    log(request, manifest.name, what)
    messages.success(request, f"{manifest.name}: {what}")
    return redirect("backup", name=manifest.name)
