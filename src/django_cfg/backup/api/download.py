"""Downloading an archive, as it is stored."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from django_cfg.backup.api.arguments import DownloadQuery, read_query
from django_cfg.backup.api.endpoint import Call
from django_cfg.backup.api.refusals import switched_off
from django_cfg.backup.api.storage import read_catalog
from django_cfg.backup.errors import BackupNotFound, UsageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import find_backup
from django_cfg.backup.services.catalog.download import stream_stored
from django_cfg.backup.services.catalog.places import places_with, read_first_good
from django_cfg.backup.services.monitoring.streamed_file import StreamedFile, begin_soon
from django_cfg.backup.services.project.progress import SILENT

_log = logging.getLogger("django_cfg.backup")


def download(call: Call, name: str) -> StreamedFile:
    """Stream an archive as it is stored: encrypted if it is.

    Its bytes are compared with the manifest on the way. The last ones are sent after that: what differs ends early.
    """
    if not call.project.config.api.allow_download:
        raise switched_off("Downloading", "allow_download")
    query = read_query(call.request, DownloadQuery)
    catalog = read_catalog()
    manifest = find_backup(catalog, call.project, name, query.database)
    if not call.project.owns(manifest.source):
        raise BackupNotFound(
            f"{manifest.name} is of {manifest.source}, and only backups of this project and environment are downloaded "
            "from here: ask its own site, or run `backup_download`."
        )
    part = _part(manifest, query.part)
    places = places_with(call.project, catalog, manifest)
    content: Iterator[bytes] = iter(())
    if call.request.method == "GET":
        _, content = read_first_good(
            places, lambda storage: begin_soon(stream_stored(storage, part), storage.location), SILENT
        )
        _log.warning("%s is downloaded by %s", part.archive_key, call.origin)
    answer = StreamedFile(content, part.archive.key, part.archive.size)
    answer["X-Archive-SHA256"] = part.archive.sha256
    return answer


def _part(manifest: Manifest, number: int | None) -> Manifest:
    """
    :raises UsageError: there is no such archive, or it was not said which one.
    """
    parts = manifest.parts
    if number is None and len(parts) > 1:
        raise UsageError(f"{manifest.name} has {len(parts)} archives: get each with ?part=1 to ?part={len(parts)}.")
    if number is not None and number > len(parts):
        raise UsageError(f"{manifest.name} has no part {number}; the last one is {len(parts)}.")
    return parts[(number or 1) - 1]
