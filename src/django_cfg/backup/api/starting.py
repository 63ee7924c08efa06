"""create, verify, drill, restore: each starts a job and answers with its address."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.http import HttpResponse

from django_cfg.backup.api.answers import answer_document
from django_cfg.backup.api.arguments import CreateBody, RestoreBody, VerifyBody, read_body
from django_cfg.backup.api.endpoint import Call
from django_cfg.backup.api.jobs import report_job
from django_cfg.backup.api.refusals import Refusal, switched_off
from django_cfg.backup.api.storage import read_fresh_catalog, read_soon
from django_cfg.backup.errors import ConfigurationError, StorageError
from django_cfg.backup.manifest import Source
from django_cfg.backup.services.catalog.catalog import find_backup
from django_cfg.backup.services.jobs.job import Action, Job, RestoreChoice
from django_cfg.backup.services.jobs.launch import launch
from django_cfg.backup.services.project.project import require_enabled
from django_cfg.backup.services.runs.lease import require_idle

_log = logging.getLogger("django_cfg.backup")


def create(call: Call) -> HttpResponse:
    """As ``backup_create [ALIAS...]``."""
    body = read_body(call.request, CreateBody)
    project = call.project
    try:
        require_enabled(project.config)
    except ConfigurationError as error:
        raise Refusal(403, str(error)) from None
    databases = tuple(dict.fromkeys(body.databases))
    for alias in databases:
        project.database(alias)
    sources = [project.source(alias) for alias in databases or project.aliases()]
    return _start(call, Job(action="backup", by=call.client, databases=databases, note=body.note), sources)


def verify(call: Call) -> HttpResponse:
    """As ``backup_verify NAME``."""
    return _start_on_backup(call, "verify")


def drill(call: Call) -> HttpResponse:
    """As ``backup_verify NAME --drill``."""
    return _start_on_backup(call, "drill")


def _start_on_backup(call: Call, action: Action) -> HttpResponse:
    body = read_body(call.request, VerifyBody)
    catalog = read_fresh_catalog(call.project)
    manifest = find_backup(catalog, call.project, body.name, body.database)
    catalog.require_signature(manifest, allow_unsigned=action == "verify")
    return _start(call, Job(action=action, by=call.client, names=(manifest.name,)), [manifest.source])


def restore(call: Call) -> HttpResponse:
    """As ``backup_restore NAME --to ALIAS``. Unsigned backups take a person and the command."""
    if not call.project.config.api.allow_restore:
        raise switched_off("A restore", "allow_restore")
    body = read_body(call.request, RestoreBody)
    call.project.database(body.to)
    catalog = read_fresh_catalog(call.project)
    manifest = find_backup(catalog, call.project, body.name, body.database)
    catalog.require_signature(manifest)
    choice = RestoreChoice(to=body.to, tables=body.tables, disconnect=body.disconnect, skip_failing=body.skip_failing)
    job = Job(action="restore", by=call.client, names=(manifest.name,), restore=choice)
    return _start(call, job, [call.project.source(body.to)])


def _start(call: Call, job: Job, sources: Iterable[Source]) -> HttpResponse:
    """
    :raises AlreadyRunning: one of *sources* has such a run already.
    """
    _refuse_second(call, job, sources)
    level = logging.WARNING if job.action == "restore" else logging.INFO
    _log.log(level, "%s, asked for by %s", job, call.origin)
    report = report_job(call, launch(call.project, job))
    answer = answer_document(report, status=202)
    answer["Location"] = report.address
    return answer


def _refuse_second(call: Call, job: Job, sources: Iterable[Source]) -> None:
    """Look at the history, as far as it answers: the run itself takes a lock, and fails where it cannot."""

    def look() -> bool:
        for source in sources:
            require_idle(call.project, source, job.kind)
        return True

    try:
        read_soon(look, "The history")
    except StorageError as error:
        _log.info("Whether such a run is under way is not known: %s", error)
