"""What is sent to whom: receivers of the package's signals, which apps.py calls."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from django.dispatch import Signal

from django_cfg.backup import signals
from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.errors import StorageError
from django_cfg.backup.formatting import counted, format_time
from django_cfg.backup.manifest import Manifest, Proof, Source, describe_stored
from django_cfg.backup.models import Run
from django_cfg.backup.policy.health import disproof
from django_cfg.backup.process.redaction import redact
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.monitoring.channels import (
    NO_ANSWER,
    find_faults,
    heartbeat_channel,
    list_channels,
    send_to_all,
)
from django_cfg.backup.services.monitoring.incidents import Incident, Kind
from django_cfg.backup.services.monitoring.webhooks import announce, check_webhooks, is_wanted, send_test_event
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.project.secrets import secrets_of

_STATUS = "`manage.py backup_status` shows how all backups stand."


def check_notifications(project: Project) -> Iterator[Finding]:
    """Check, without sending, that somebody is notified of failures."""
    config = project.config
    for fault in find_faults(config):
        yield Finding(Level.WARNING, "notify", fault)
    ways = list_channels(config) if config.notify_on_failure else []
    ways += [way for way in (heartbeat_channel(config, "test", succeeded=False),) if way]
    if ways:
        yield Finding(Level.OK, "notify", f"failures are reported by {', '.join(way.name for way in ways)}")
    elif config.notify_on_failure:
        text = "no failure is reported to anybody: set ADMINS and a mail server, notify_urls or heartbeat_url"
        yield Finding(Level.WARNING, "notify", text)
    yield from check_webhooks(project)


def send_test_notifications(project: Project) -> Iterator[Finding]:
    """Send a test through every channel there is."""
    ways = list_channels(project.config)
    ways += [way for way in (heartbeat_channel(project.config, "test", succeeded=True),) if way]
    what = f"A test of the notifications of {project.name}/{project.env}."
    body = _message(project, what, why="Somebody ran `backup_check --notify`.", todo="Nothing: it works.")
    for name, error in send_to_all(project, ways, what.rstrip("."), body).items():
        yield Finding(Level.FAILED if error else Level.OK, "notify", f"{name}: {error or 'sent'}")
    yield from send_test_event(project)


def _backup_succeeded(manifest: Manifest, warning: str, **_: Any) -> None:
    project = current_project()
    source = manifest.source
    _beat(project, source, succeeded=True)
    over = _end(project, "backup", source.database)
    _end(project, "missed", source.database)  # it is made up for, as was announced
    if over or project.config.notify_on_success:
        what = f"The backup of {source} {'works again' if over else 'succeeded'}."
        _send(project, what, why=f"{describe_stored(manifest)}.", todo="Nothing.")
    _watch_the_size(project, source, warning)


def _backup_failed(source: Source, message: str, **_: Any) -> None:
    project = current_project()
    _beat(project, source, succeeded=False)
    todo = (
        f"Fix what the reason says, then run `manage.py backup_create {source.database}`. There is no further "
        f"message until it works again. {_STATUS}"
    )
    _begin(project, "backup", source.database, f"The backup of {source} failed.", message, todo)


def _copy_failed(manifest: Manifest, place: str, required: bool, message: str, **_: Any) -> None:
    todo = (
        f"The backup itself is made. Fix what the reason says: every tick tries again, and so does `manage.py "
        f"backup_copy {manifest.name} --to {place}`. {_STATUS}"
    )
    project = current_project()
    what = f"A backup of {manifest.source} is not in {place}."
    if required:
        _begin(project, "copy", f"{manifest.source.database} {place}", what, message, todo)


def _copies_complete(place: str, **_: Any) -> None:
    project = current_project()
    ended = [_end(project, "copy", f"{alias} {place}") for alias in project.databases]
    if any(ended):
        what = f"Backups of {project.name}/{project.env} are copied to {place} again."
        _send(project, what, why="Nothing is missing there any more.", todo="Nothing.")


def _slots_missed(source: Source, kind: str, slots: list[datetime], **_: Any) -> None:
    """Notify once of a series of them; not while it is known that backups fail."""
    project = current_project()
    if kind != Run.Kind.BACKUP or Incident(project, "backup", source.database).goes_on():
        return
    what = f"{counted(len(slots), 'backup')} of {source} {'was' if len(slots) == 1 else 'were'} missed."
    first, last = (format_time(moment, project.zone) for moment in (min(slots), max(slots)))
    why = (
        f"No ticker or no worker ran when they were due, from {first} to {last}."
        if len(slots) > 1
        else (f"No ticker or no worker ran when it was due, at {first}.")
    )
    todo = (
        "See what kept them from running. One backup makes up for all, and is due now. After the schedule was changed "
        f"or switched on again this is no problem. {_STATUS}"
    )
    _begin(project, "missed", source.database, what, why, todo)


def _prune_succeeded(source: Source | None, **_: Any) -> None:
    project = current_project()
    if source and _end(project, "prune", source.database):
        what = f"Pruning old backups of {source} works again."
        _send(project, what, why="Nothing is left that was due for deletion.", todo="Nothing.")


def _prune_failed(source: Source, message: str, **_: Any) -> None:
    what = f"Old backups of {source} were not pruned as the retention says."
    todo = "The backup itself was made. Fix what the reason says; `manage.py backup_prune --dry-run` shows what is due."
    _begin(current_project(), "prune", source.database, what, message, todo)


def _backup_overdue(source: Source, message: str, **_: Any) -> None:
    _beat(current_project(), source, succeeded=False)
    todo = f"Run `manage.py backup_create {source.database}` to have one now. {_STATUS}"
    _begin(current_project(), "backup", source.database, f"The backup of {source} is overdue.", message, todo)


def _verification_succeeded(
    source: Source, manifest: Manifest | None, proof: Proof | None, message: str, **_: Any
) -> None:
    project = current_project()
    if proof is None:  # one backup that was read says nothing of the others
        if manifest is None and _end(project, "check", source.database):
            _send(project, f"The verification of {source} works again.", why=message, todo="Nothing.")
        return
    over: tuple[Kind, ...] = ("no drill",) if _is_disproved(project, source) else ("no drill", "drill")
    ended = [_end(project, kind, source.database) for kind in over]
    if any(ended):
        why = f"{proof.name} was restored and compared: {proof.tables} tables, {proof.rows:,} rows."
        _send(project, f"The drill of {source} works again.", why=why, todo="Nothing.")


def _is_disproved(project: Project, source: Source) -> bool:
    """Return True if, as far as can be seen, a drill of a newer backup than the one just proved has failed."""
    if not _notifies_of_failures(project):
        return False
    try:
        catalog = read_places(project)
    except StorageError:
        return True  # the next drill looks again
    return disproof([backup for backup in catalog.backups if backup.source == source], catalog.proofs) is not None


def _verification_failed(
    source: Source, drill: bool, proof: Proof | None, trigger: str, message: str, **_: Any
) -> None:
    """Notify of failed drills, and of what a scheduled verification has found; a person who verifies reads it."""
    project = current_project()
    if proof is None and not drill and trigger != "scheduled":
        return
    _beat(project, source, succeeded=False)
    if proof is not None:
        _end(project, "no drill", source.database)  # a drill was made; what it found is sent now
        why = "; ".join(proof.differences) or "It could not be restored."
        todo = f"Do not rely on {proof.name}: correct the cause, make a new backup, and drill again. {_STATUS}"
        _begin(project, "drill", source.database, f"The drill of {proof.name} failed.", why, todo)
    elif drill:
        todo = f"Nothing was learned of the backup itself. Fix what the reason says, and drill again. {_STATUS}"
        _begin(project, "no drill", source.database, f"The drill of {source} could not be made.", message, todo)
    else:
        todo = f"Make a new backup, and run `manage.py backup_verify`. {_STATUS}"
        _begin(project, "check", source.database, f"The verification of {source} failed.", message, todo)


def _schedule_succeeded(source: Source | None, kind: str, **_: Any) -> None:
    project = current_project()
    if source is not None:
        if _end(project, _claim_incident(kind), source.database):
            why = "The history can be used again where it is made."
            _send(project, f"The scheduled {kind} of {source} begins again.", why=why, todo="Nothing.")
    elif _end(project, "schedule"):
        what = f"Scheduled backups of {project.name}/{project.env} start again."
        _send(project, what, why="The last tick came through.", todo="Nothing: a missed backup is made up for.")


def _schedule_failed(source: Source | None, kind: str, message: str, **_: Any) -> None:
    """Notify; a run that cannot begin is an incident of its own, since ticks elsewhere may succeed all the while."""
    project = current_project()
    if source is not None:
        what = f"The scheduled {kind} of {source} could not begin."
        todo = f"Fix what the reason says on this machine: every tick tries again. {_STATUS}"
        _begin(project, _claim_incident(kind), source.database, what, message, todo)
    else:
        what = f"Scheduled backups of {project.name}/{project.env} do not start."
        _begin(project, "schedule", "", what, message, f"Fix what the reason says: every tick tries again. {_STATUS}")


def _claim_incident(kind: str) -> Kind:
    return "backup claim" if kind == Run.Kind.BACKUP else "verification claim"


def _watch_the_size(project: Project, source: Source, warning: str) -> None:
    """Notify once of a backup that is much smaller than the ones before, like of a failure."""
    if warning:
        todo = "If so many rows were deleted on purpose: nothing."
        _begin(project, "size", source.database, f"The backup of {source} is much smaller than usual.", warning, todo)
    else:
        _end(project, "size", source.database)


def _begin(project: Project, kind: Kind, database: str, what: str, why: str, todo: str) -> None:
    def notify() -> bool | None:
        heard = {announce("incident_opened", database, incident=kind, what=what, message=why)}
        if _notifies_of_failures(project):
            heard.add(_send(project, what, why=why, todo=todo))
        return True if True in heard else None if None in heard else False

    if _notifies_of_failures(project) or is_wanted(project, "incident_opened"):
        Incident(project, kind, database).begin(_clean(why, project), notify)


def _end(project: Project, kind: Kind, database: str = "") -> bool:
    """End the incident; return True if a notification of its end is wanted."""
    if not Incident(project, kind, database).end():
        return False
    announce("incident_closed", database, incident=kind)
    return _notifies_of_failures(project)


def _notifies_of_failures(project: Project) -> bool:
    return project.config.notify_on_failure and bool(list_channels(project.config))


def _send(project: Project, what: str, *, why: str, todo: str) -> bool | None:
    """Return True if a channel took the message; None: unknown, since one was too slow to say so."""
    body = _message(project, what, why=why, todo=todo)
    results = send_to_all(project, list_channels(project.config), what.rstrip("."), body)
    if not all(results.values()):
        return True
    return None if any(error.startswith(NO_ANSWER) for error in results.values()) else False


def _message(project: Project, what: str, *, why: str, todo: str) -> str:
    where = f"{project.name}/{project.env} on {socket.gethostname()}, backups in {project.location}"
    when = format_time(clock.now(), project.zone)
    lines = {"What": what, "Where": where, "When": when, "Why": why, "What to do": todo}
    return _clean("\n\n".join(f"{name}: {text}" for name, text in lines.items()), project) + "\n"


def _beat(project: Project, source: Source, *, succeeded: bool) -> None:
    way = heartbeat_channel(project.config, source.database, succeeded=succeeded)
    if way:
        send_to_all(project, [way], "", "")


def _clean(text: str, project: Project) -> str:
    """Return *text* without any secret of the settings, which a library may have written into an error."""
    return redact(text, secrets_of(project))


RECEIVERS: dict[Signal, Callable[..., None]] = {
    signals.backup_succeeded: _backup_succeeded,
    signals.backup_failed: _backup_failed,
    signals.backup_overdue: _backup_overdue,
    signals.slots_missed: _slots_missed,
    signals.prune_succeeded: _prune_succeeded,
    signals.prune_failed: _prune_failed,
    signals.verification_succeeded: _verification_succeeded,
    signals.verification_failed: _verification_failed,
    signals.schedule_succeeded: _schedule_succeeded,
    signals.schedule_failed: _schedule_failed,
    signals.copy_failed: _copy_failed,
    signals.copies_complete: _copies_complete,
}
