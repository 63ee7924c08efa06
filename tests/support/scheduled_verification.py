"""Verifications by schedule: configured, ticked and found in the storage."""

from __future__ import annotations

from typing import Any

from django_cfg.backup.manifest import Proof
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.creation.batch import Failure
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import TickReport
from django_cfg.backup.services.schedule.verification_job import VerificationResult
from tests.support.django_project import Site

HOURLY = {"cron": "0 * * * *"}


NEVER = {"enabled": False}


def verify(site: Site, **verification: Any) -> None:
    site.configure(schedule=NEVER, verification={"enabled": True, "schedule": HOURLY, **verification})


def clean(ticked: TickReport) -> list[VerificationResult | Failure]:
    assert not ticked.problems, ticked.problems
    return ticked.verified


def proofs() -> dict[str, Proof]:
    return dict(read_catalog(current_project().storage).proofs)
