"""Who is told what: receivers of the package's signals, connected when the app is ready."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from django.dispatch import Signal

from django_cfg.backup import signals
from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.errors import StorageError, megabytes
from django_cfg.backup.manifest import Manifest, Proof, Source
from django_cfg.backup.pipeline.redaction import redacted
from django_cfg.backup.services import clock
from django_cfg.backup.services.catalog import read_catalog
from django_cfg.backup.services.channels import channels, deliver, heartbeat
from django_cfg.backup.services.incidents import Incident, Kind
from django_cfg.backup.services.project import Project, current_project
from django_cfg.backup.services.redaction import secrets_of
from django_cfg.backup.services.status import trend_warning

_DRILLS: tuple[Kind, ...] = ("drill", "no drill")
_STATUS = "`manage.py backup_status` shows how all backups stand."


def connect() -> None:
    """Listen to what happens."""
    receivers: dict[Signal, Callable[..., None]] = {
        signals.backup_succeeded: _backup_succeeded,
        signals.backup_failed: _backup_failed,
        signals.backup_overdue: _backup_overdue,
        signals.drill_succeeded: _drill_succeeded,
        signals.drill_failed: _drill_failed,
        signals.check_succeeded: _check_succeeded,
        signals.check_failed: _check_failed,
        signals.schedule_succeeded: _schedule_succeeded,
        signals.schedule_failed: _schedule_failed,
    }
    for signal, receiver in receivers.items():
        signal.connect(receiver, dispatch_uid=f"django_cfg_backup.{receiver.__name__}")


def test_channels(project: Project) -> Iterator[Finding]:
    """Send a test through every channel there is."""
    ways = channels(project.config)
    if not ways:
        told = "nobody is told of failures: set ADMINS and a mail server, or notify_urls"
        yield Finding(Level.WARNING, "notify", told)
    ways += [way for way in (heartbeat(project.config, "test", succeeded=True),) if way]
    what = f"A test of the notifications of {project.name}/{project.env}."
    body = _message(project, what, why="Somebody ran `backup_check --notify`.", todo="Nothing: it works.")
    for name, error in deliver(project, ways, what.rstrip("."), body).items():
        yield Finding(Level.FAILED if error else Level.OK, "notify", f"{name}: {error or 'sent'}")


def _backup_succeeded(manifest: Manifest, **_: Any) -> None:
    project = current_project()
    source = manifest.source
    _beat(project, source, succeeded=True)
    over = _end(project, "backup", source.database)
    if over or project.config.notify_on_success:
        what = f"The backup of {source} {'works again' if over else 'succeeded'}."
        _send(project, what, why=_summary(manifest), todo="Nothing.")
    _watch_the_size(project, source)


def _backup_failed(source: Source, message: str, **_: Any) -> None:
    project = current_project()
    _beat(project, source, succeeded=False)
    todo = (
        f"Mend what it says, then run `manage.py backup_create {source.database}`. There is no further message until "
        f"it works again. {_STATUS}"
    )
    _begin(project, "backup", source.database, f"The backup of {source} failed.", message, todo)


def _backup_overdue(source: Source, message: str, **_: Any) -> None:
    todo = f"Run `manage.py backup_create {source.database}` to have one now. {_STATUS}"
    _begin(current_project(), "backup", source.database, f"The backup of {source} is overdue.", message, todo)


def _drill_succeeded(source: Source, proof: Proof, **_: Any) -> None:
    project = current_project()
    ended = [_end(project, kind, source.database) for kind in _DRILLS]
    if any(ended):
        why = f"{proof.name} was restored and compared: {proof.tables} tables, {proof.rows:,} rows."
        _send(project, f"The drill of {source} works again.", why=why, todo="Nothing.")


def _drill_failed(source: Source, proof: Proof | None, message: str = "", **_: Any) -> None:
    if proof is None:
        todo = f"Nothing was learned of the backup itself. Mend what it says, and drill again. {_STATUS}"
        _begin(
            current_project(), "no drill", source.database, f"The drill of {source} could not be made.", message, todo
        )
        return
    _end(current_project(), "no drill", source.database)  # a drill was made; what it found is told now
    why = "; ".join(proof.differences) or "It could not be restored."
    todo = f"Do not rely on {proof.name}: make a new backup, and drill again. {_STATUS}"
    _begin(current_project(), "drill", source.database, f"The drill of {proof.name} failed.", why, todo)


def _check_succeeded(source: Source, **_: Any) -> None:
    project = current_project()
    if _end(project, "check", source.database):
        why = "Its newest backup was read to its last byte, and is good."
        _send(project, f"The verification of {source} works again.", why=why, todo="Nothing.")


def _check_failed(source: Source, message: str, **_: Any) -> None:
    todo = f"Make a new backup, and run `manage.py backup_verify`. {_STATUS}"
    _begin(current_project(), "check", source.database, f"The verification of {source} failed.", message, todo)


def _schedule_succeeded(**_: Any) -> None:
    project = current_project()
    if _end(project, "schedule"):
        what = f"Scheduled backups of {project.name}/{project.env} start again."
        _send(project, what, why="The last tick came through.", todo="Nothing: a missed backup is made up for.")


def _schedule_failed(message: str, **_: Any) -> None:
    project = current_project()
    what = f"Scheduled backups of {project.name}/{project.env} do not start."
    _begin(project, "schedule", "", what, message, f"Mend what it says: every tick tries again. {_STATUS}")


def _watch_the_size(project: Project, source: Source) -> None:
    """A backup much smaller than the ones before is told of, once, like a failure."""
    if not _is_told_of_failures(project):
        return
    try:
        backups = [found for found in read_catalog(project.storage).backups if found.source == source]
    except StorageError:
        return  # the next backup looks again
    if warning := trend_warning(backups):
        todo = "If so many rows were deleted on purpose: nothing."
        _begin(project, "size", source.database, f"The backup of {source} is much smaller than usual.", warning, todo)
    else:
        _end(project, "size", source.database)


def _begin(project: Project, kind: Kind, database: str, what: str, why: str, todo: str) -> None:
    if _is_told_of_failures(project):
        incident = Incident(project, kind, database)
        incident.begin(_clean(why, project), lambda: _send(project, what, why=why, todo=todo))


def _end(project: Project, kind: Kind, database: str = "") -> bool:
    return _is_told_of_failures(project) and Incident(project, kind, database).end()


def _is_told_of_failures(project: Project) -> bool:
    return project.config.notify_on_failure and bool(channels(project.config))


def _send(project: Project, what: str, *, why: str, todo: str) -> bool:
    """Whether anybody could be told."""
    body = _message(project, what, why=why, todo=todo)
    results = deliver(project, channels(project.config), what.rstrip("."), body)
    return not all(results.values())


def _message(project: Project, what: str, *, why: str, todo: str) -> str:
    where = f"{project.name}/{project.env} on {socket.gethostname()}, backups in {project.location}"
    when = _local(clock.now(), project)
    lines = {"What": what, "Where": where, "When": when, "Why": why, "What to do": todo}
    return _clean("\n\n".join(f"{name}: {text}" for name, text in lines.items()), project) + "\n"


def _summary(manifest: Manifest) -> str:
    took = (manifest.finished_at - manifest.started_at).total_seconds()
    size = megabytes(manifest.archive.size)
    return f"{manifest.name}: {len(manifest.tables)} tables, {manifest.rows:,} rows, {size} in {took:.0f} s."


def _beat(project: Project, source: Source, *, succeeded: bool) -> None:
    way = heartbeat(project.config, source.database, succeeded=succeeded)
    if way:
        deliver(project, [way], "", "")


def _local(moment: datetime, project: Project) -> str:
    return moment.astimezone(project.zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def _clean(text: str, project: Project) -> str:
    """*text* without any secret of the settings: errors hold none, and what others have written into one might."""
    return redacted(text, secrets_of(project))
