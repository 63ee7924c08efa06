"""The restore wizard: pick a backup, read what will happen, type the database's name and the password."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse

from django_cfg.backup.admin.access import (
    database_name,
    log,
    require_alias,
    require_password,
    require_typed,
    requires,
    user_name,
)
from django_cfg.backup.admin.backups import Row, find_row, list_rows
from django_cfg.backup.admin.base import redirect, refuse, render
from django_cfg.backup.admin.job_page import start
from django_cfg.backup.engines.base import Level
from django_cfg.backup.errors import BackupError, DatabaseUnavailable
from django_cfg.backup.formatting import counted, elapsed, megabytes
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.catalog.moments import is_within
from django_cfg.backup.services.jobs.job import Job, RestoreChoice
from django_cfg.backup.services.monitoring.snapshot import Stored, read_backups
from django_cfg.backup.services.project.connections import closing_connections
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.restore.restore import RestorePlan, RestoreRequest, preview_restore
from django_cfg.backup.services.runs.reachability import probe

_PATIENCE = 4.0  # seconds for the target to answer at all
_LONGEST = 15.0  # seconds to look at one that answers
_PICKED = 50  # backups that are offered at once


@dataclass(frozen=True)
class Sentence:
    """One line of what will happen."""

    text: str
    is_warning: bool = False


@requires("restore_backup")
def page(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Without ``?backup=`` the list to pick from; with it what will happen, and the form that starts it."""
    stored = read_backups()
    if not stored.project.allows_web_restore:
        raise Http404
    name = request.POST.get("backup") or request.GET.get("backup", "")
    if not name:
        return _pick(site, request, stored)
    manifest = find_row(stored, name).manifest
    values = request.POST if request.method == "POST" else request.GET
    choice = _choice(stored, manifest, values)
    if request.method == "POST":
        return _start(request, stored, manifest, choice)
    return _look(site, request, stored, manifest, choice)


def _pick(site: AdminSite, request: HttpRequest, stored: Stored) -> HttpResponse:
    moment = _moment(request.GET.get("at", ""), stored)
    wanted = request.GET.get("database", "")
    rows = [
        row
        for row in list_rows(stored, every_source="all" in request.GET)
        if wanted in ("", row.manifest.source.database) and is_within(row.manifest, None, moment)
    ]
    context = {
        "stored": stored,
        "rows": rows[:_PICKED],
        "more": max(0, len(rows) - _PICKED),
        "best": next((row.manifest.name for row in rows if row.is_proved), ""),
        "chosen": request.GET,
        "sources": sorted({backup.source.database for backup in stored.backups}),
    }
    return render(site, request, "restore_pick", "Restore: which backup?", context)


def _look(
    site: AdminSite, request: HttpRequest, stored: Stored, manifest: Manifest, choice: RestoreChoice
) -> HttpResponse:
    plan, problem = _preview(manifest, choice)
    row = find_row(stored, manifest.name)
    context = {
        "stored": stored,
        "manifest": manifest,
        "choice": choice,
        "tables": "\n".join(choice.tables),
        "aliases": sorted(stored.project.databases),
        "database_name": database_name(stored.project, choice.to),
        "sentences": describe(plan, row, stored.project) if plan else [],
        "problem": problem,
        "can_disconnect": plan is not None and plan.engine.format == "pgdump" and not choice.tables,
        "can_skip": plan is not None and plan.engine.can_skip and not choice.tables,
        "is_unsigned": bool(row.distrust),
    }
    return render(site, request, "restore", f"Restore {manifest.name}", context)


def _start(request: HttpRequest, stored: Stored, manifest: Manifest, choice: RestoreChoice) -> HttpResponse:
    project = stored.project
    try:
        require_typed(request, database_name(project, choice.to))
        require_password(request)
        log(request, manifest.name, f"Asked for: Restore into {choice.to}.")
        job = Job(action="restore", by=user_name(request), names=(manifest.name,), restore=choice)
        return start(request, project, job)
    except BackupError as error:
        refuse(request, error)
        return redirect(request, "restore", backup=manifest.name, to=choice.to, **_query(choice))


def describe(plan: RestorePlan, row: Row, project: Project) -> list[Sentence]:
    """Say what the restore does, in sentences."""
    manifest, preflight = plan.manifest, plan.preflight
    what = f"the tables {', '.join(plan.options.tables)}" if plan.options.tables else f"the database {plan.target}"
    size, rows = megabytes(manifest.raw_size), counted(manifest.rows, "row")
    found = [
        Sentence(
            f"{what[0].upper()}{what[1:]} ({plan.engine.name}, {plan.engine.location}) will be as it was on "
            f"{manifest.started_at:%d %b %Y at %H:%M} UTC: {counted(len(manifest.tables), 'table')}, {rows}, {size}."
        ),
        Sentence(_form(plan)),
        Sentence(_old_data(plan)),
        Sentence(_time(row)),
    ]
    if plan.crosses_sources:
        text = f"It is a backup of {manifest.source}, and not of {project.source(plan.target)}."
        found.append(Sentence(text, is_warning=True))
    if plan.left_out:
        found.append(Sentence(plan.left_out, is_warning=True))
    if plan.sanitizer:
        found.append(Sentence(f"It is sanitised by {plan.sanitizer.name} before it replaces anything."))
    if plan.migrations:
        found.append(Sentence(plan.migrations, is_warning=True))
    if not row.is_proved:
        found.append(Sentence("No drill has proved this backup.", is_warning=True))
    if plan.holds_history and not plan.options.tables:
        found.append(
            Sentence(
                "The users and sessions of this site are in that database, too: you may have to log in again, as a "
                "user that the backup has.",
                is_warning=True,
            )
        )
    return found + [Sentence(text.text, text.level is not Level.OK) for text in preflight.findings]


def _form(plan: RestorePlan) -> str:
    if plan.preflight.uses_staging:
        return "It is loaded and checked next to the present data, which stays in use until the last moment."
    return "It is loaded into the database itself, so the site should be stopped: half-restored data would be seen."


def _old_data(plan: RestorePlan) -> str:
    if not plan.preflight.target_exists:
        return "There is no present data: the database is new."
    if plan.backs_up_first:
        return "The present data is backed up first."
    return "The present data is kept under another name." if plan.preflight.keeps_old_data else "There is no old data."


def _time(row: Row) -> str:
    if row.proof and row.proof.succeeded:
        return f"It takes about {elapsed(timedelta(seconds=row.proof.duration))}, as its last drill did."
    return "How long it takes is not known, since it was never drilled."


def _preview(manifest: Manifest, choice: RestoreChoice) -> tuple[RestorePlan | None, str]:
    """Ask the target, in a thread: connections of this one may be in a transaction of the request."""

    def look() -> RestorePlan | BackupError:
        try:
            return preview_restore(
                RestoreRequest(
                    manifest.name, to=choice.to, options=choice.options, allow_unsigned=choice.allow_unsigned
                )
            )
        except BackupError as error:
            return error

    looking, connecting = InThread(closing_connections(look), "backup-page-restore"), probe(choice.to)
    has_answered = looking.wait(_PATIENCE) or connecting.wait(0)
    silent = DatabaseUnavailable(
        f"The database {choice.to!r} has not answered yet. See whether its server can be reached (`backup_check`), and "
        "load the page again."
    )
    found: Any = looking.result(_LONGEST if has_answered else 0, otherwise=silent)
    return (None, str(found)) if isinstance(found, BackupError) else (found, "")


def _choice(stored: Stored, manifest: Manifest, values: Any) -> RestoreChoice:
    project = stored.project
    own = manifest.source.database if project.owns(manifest.source) else ""
    to = values.get("to") or own or next(iter(project.databases), "")
    return RestoreChoice(
        to=require_alias(project, to),
        tables=tuple(filter(None, map(str.strip, values.get("tables", "").splitlines()))),
        disconnect="disconnect" in values,
        skip_failing="skip_failing" in values,
        allow_unsigned="allow_unsigned" in values,
    )


def _query(choice: RestoreChoice) -> dict[str, str]:
    flags = ("disconnect", "skip_failing", "allow_unsigned")
    query = {name: "on" for name in flags if getattr(choice, name)}
    return query | ({"tables": "\n".join(choice.tables)} if choice.tables else {})


def _moment(text: str, stored: Stored) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=stored.zone) if text else None
    except ValueError:
        return None
