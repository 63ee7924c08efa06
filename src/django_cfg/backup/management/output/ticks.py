"""What a tick has done, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_cfg.backup.errors import BackupError
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.management.output import proofs
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.creation.create import Failure, verdict
from django_cfg.backup.services.schedule.tick import Ticked
from django_cfg.backup.services.schedule.verification_job import Verified


def lines_of(ticked: Ticked) -> Iterator[str]:
    for alias, slot in ticked.claimed.items():
        yield f"{alias}: claimed the slot of {slot:%Y-%m-%d %H:%M} UTC"
    for alias in ticked.enqueued:
        yield f"{alias}: put on its queue"
    for result in ticked.results:
        if isinstance(result, Manifest):
            yield f"{result.name}: {megabytes(result.archive.size)} stored"

    for verified in ticked.verified:
        if isinstance(verified, Verified):
            proof = verified.proof
            yield f"{verified.manifest.name}: " + (f"proved. {proofs.sentence(proof)}" if proof else "good")


def verdict_of(ticked: Ticked) -> BackupError | None:
    """What went wrong with the backups and verifications that ran in place."""
    error = verdict(ticked.results)
    failures = [result.error for result in ticked.verified if isinstance(result, Failure)]
    if error is None and len(failures) == 1:
        return failures[0]
    told = [*([error] if error else []), *failures]
    return BackupError("\n".join(map(str, told))) if failures else error


def _verified(result: Verified | Failure) -> dict[str, Any]:
    if isinstance(result, Failure):
        return {"database": result.database, "error": str(result.error)}
    return {"name": result.manifest.name, "error": None, "proof": proofs.document(result.proof)}


def document_of(ticked: Ticked) -> dict[str, Any]:
    return {
        "claimed": {alias: slot.isoformat() for alias, slot in ticked.claimed.items()},
        "enqueued": ticked.enqueued,
        "results": [
            result.model_dump(mode="json", by_alias=True)
            if isinstance(result, Manifest)
            else {"database": result.database, "error": str(result.error)}
            for result in ticked.results
        ],
        "verified": [_verified(result) for result in ticked.verified],
        "problems": [str(problem) for problem in ticked.problems],
    }
