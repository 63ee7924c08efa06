"""Downloading a backup: as stored, or as the dump tool wrote it; after the password was entered again."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponseBase

from django_cfg.backup.admin.access import log, require_password, requires
from django_cfg.backup.admin.backups import find_row
from django_cfg.backup.admin.base import redirect, refuse, render
from django_cfg.backup.errors import BackupError, UsageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.encryption.decryption_keys import decryption_keys
from django_cfg.backup.services.catalog.archives import open_archive
from django_cfg.backup.services.catalog.download import hold_back_last, plain_name, stream_stored
from django_cfg.backup.services.catalog.places import read_first_good
from django_cfg.backup.services.monitoring.snapshot import read_backups
from django_cfg.backup.services.monitoring.streamed_file import StreamedFile, begin_soon
from django_cfg.backup.services.project.progress import SILENT
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.storage.base import Storage


@requires("download_backup")
def download(site: AdminSite, request: HttpRequest) -> HttpResponseBase:
    """Ask what and for the password; then stream it."""
    project = current_project()
    if not project.allows_web_download:
        raise Http404
    stored = read_backups()
    manifest = find_row(stored, request.POST.get("name") or request.GET.get("name", "")).manifest
    if not project.owns(manifest.source):
        raise Http404
    if request.method != "POST":
        return render(site, request, "download", f"Download {manifest.name}", {"manifest": manifest})
    is_plain = request.POST.get("form") == "plain"
    try:
        if manifest.row_archives:
            raise UsageError(
                f"{manifest.name} has {len(manifest.archives)} archives, which are not one file: "
                f"`manage.py backup_download {manifest.name}` gets all of them."
            )
        require_password(request)
        _, content = read_first_good(
            stored.places_with(manifest),
            lambda storage: begin_soon(
                _plain(project, storage, manifest) if is_plain else stream_stored(storage, manifest), storage.location
            ),
            SILENT,
        )
    except BackupError as error:
        refuse(request, error)
        return redirect(request, "download", name=manifest.name)
    log(request, manifest.name, f"Downloaded, {'plain' if is_plain else 'as stored'}.")
    return StreamedFile(
        content,
        plain_name(manifest) if is_plain else manifest.archive_key,
        manifest.archive.raw_size if is_plain else manifest.archive.size,
    )


def _plain(project: Project, storage: Storage, manifest: Manifest) -> Iterator[bytes]:
    with open_archive(storage, manifest, decryption_keys(project.config), lambda count: None) as plain:
        yield from hold_back_last(plain)
