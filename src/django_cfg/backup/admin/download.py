"""Downloading a backup: as stored, or as the dump tool wrote it; after the password was entered again."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header

from django_cfg.backup.admin.access import log, require_password, requires
from django_cfg.backup.admin.backups import find_row
from django_cfg.backup.admin.base import redirect, refuse, render
from django_cfg.backup.admin.snapshot import read_backups
from django_cfg.backup.errors import BackupError, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.encryption.decryption_keys import decryption_keys
from django_cfg.backup.services.catalog.archives import open_archive
from django_cfg.backup.services.catalog.download import plain_name
from django_cfg.backup.services.project.project import Project, current_project

_BLOCK = 1 << 16  # bytes


@requires("download_backup")
def download(site: AdminSite, request: HttpRequest) -> HttpResponseBase:
    """Ask what and for the password; then stream it."""
    project = current_project()
    if not project.allows_web_download:
        raise Http404
    manifest = find_row(read_backups(), request.POST.get("name") or request.GET.get("name", "")).manifest
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
        return redirect(request, "download", name=manifest.name)
    log(request, manifest.name, f"Downloaded, {'plain' if is_plain else 'as stored'}.")
    return _attachment(
        _rest(first, blocks),
        plain_name(manifest) if is_plain else manifest.archive_key,
        manifest.archive.raw_size if is_plain else manifest.archive.size,
    )


def _attachment(blocks: Iterator[bytes], key: str, size: int) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(blocks, content_type="application/octet-stream")
    answer["Content-Disposition"] = content_disposition_header(True, key.rpartition("/")[2])
    answer["Content-Length"] = str(size)
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "no-store"
    return answer


def _rest(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """All blocks. What is not as stored ends the transfer before its length: no browser takes that for a file."""
    yield first
    yield from blocks


def _stored(project: Project, manifest: Manifest) -> Iterator[bytes]:
    """The archive; its last block only after the digest of all was compared."""
    digest, held = sha256(), b""
    with project.storage.open(manifest.archive_key) as stored:
        while block := stored.read(_BLOCK):
            if held:
                yield held
            digest.update(block)
            held = block
    if digest.hexdigest() != manifest.archive.sha256:
        raise VerificationFailed(
            f"{manifest.archive_key} is not as it was stored: its SHA-256 differs from the one of its manifest. Use "
            "another backup, and find out what can write to the storage."
        )
    yield held


def _plain(project: Project, manifest: Manifest) -> Iterator[bytes]:
    keys = decryption_keys(project.config)
    with open_archive(project.storage, manifest, keys, lambda count: None) as plain:
        while block := plain.read(_BLOCK):
            yield block
