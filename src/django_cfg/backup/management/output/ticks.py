"""What a tick has done, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator

from django_cfg.backup.formatting import megabytes
from django_cfg.backup.management.output import proofs
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.schedule.tick import TickReport
from django_cfg.backup.services.schedule.verification_job import VerificationResult


def format_tick(ticked: TickReport) -> Iterator[str]:
    for alias, slot in ticked.claimed.items():
        yield f"{alias}: claimed the slot of {slot:%Y-%m-%d %H:%M} UTC"
    for alias in ticked.enqueued:
        yield f"{alias}: put on its queue"
    yield from (
        f"{result.name}: {megabytes(result.size)} stored" for result in ticked.results if isinstance(result, Manifest)
    )
    yield from (
        f"{copied.name}: copied from {copied.source} to {copied.place}" for copied in ticked.copied if not copied.error
    )
    for verified in ticked.verified:
        if isinstance(verified, VerificationResult):
            proof = verified.proof
            yield f"{verified.name}: " + (f"proved. {proofs.describe_success(proof)}" if proof else "good")
