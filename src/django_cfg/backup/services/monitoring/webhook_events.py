"""What webhooks are sent: receivers of the package's signals, which apps.py calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.dispatch import Signal

from django_cfg.backup import signals
from django_cfg.backup.manifest import Manifest, Proof, Source
from django_cfg.backup.services.monitoring.webhooks import announce


def _backup_succeeded(manifest: Manifest, warning: str, **_: Any) -> None:
    announce("backup_succeeded", manifest.source.database, backup=_describe(manifest), message=warning)


def _backup_failed(source: Source, message: str, **_: Any) -> None:
    announce("backup_failed", source.database, message=message)


def _backup_deleted(name: str, manifest: Manifest | None, **_: Any) -> None:
    announce("backup_deleted", manifest.source.database if manifest else "", name=name)


def _prune_failed(source: Source, message: str, **_: Any) -> None:
    announce("prune_failed", source.database, message=message)


def _verification_succeeded(source: Source, **facts: Any) -> None:
    announce("verification_succeeded", source.database, **_describe_verification(**facts))


def _verification_failed(source: Source, **facts: Any) -> None:
    announce("verification_failed", source.database, **_describe_verification(**facts))


def _restore_succeeded(
    manifest: Manifest | None, database: str, old_data: str | None, seconds: float, **_: Any
) -> None:
    facts = {"name": manifest.name if manifest else None, "old_data": old_data, "seconds": seconds}
    announce("restore_succeeded", database, **facts)


def _restore_failed(manifest: Manifest | None, database: str, message: str, **_: Any) -> None:
    announce("restore_failed", database, name=manifest.name if manifest else None, message=message)


def _describe(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "size": manifest.size,
        "tables": len(manifest.tables),
        "rows": manifest.rows,
        "started_at": manifest.started_at.isoformat(),
        "finished_at": manifest.finished_at.isoformat(),
        "trigger": manifest.trigger,
    }


def _describe_verification(
    manifest: Manifest | None, drill: bool, proof: Proof | None, trigger: str, message: str, **_: Any
) -> dict[str, Any]:
    """The name is None where all backups of the source were looked at."""
    found = "; ".join(proof.differences) if proof and proof.differences else message
    seconds = proof.duration if proof else None
    name = manifest.name if manifest else proof.name if proof else None
    return {"name": name, "drill": drill, "trigger": trigger, "seconds": seconds, "message": found}


RECEIVERS: dict[Signal, Callable[..., None]] = {
    signals.backup_succeeded: _backup_succeeded,
    signals.backup_failed: _backup_failed,
    signals.backup_deleted: _backup_deleted,
    signals.prune_failed: _prune_failed,
    signals.verification_succeeded: _verification_succeeded,
    signals.verification_failed: _verification_failed,
    signals.restore_succeeded: _restore_succeeded,
    signals.restore_failed: _restore_failed,
}
