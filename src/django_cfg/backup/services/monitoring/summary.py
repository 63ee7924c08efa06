"""How everything is, in one sentence that begins with one of five words; and in one word for each database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from django.db import transaction

from django_cfg.backup.formatting import counted, elapsed
from django_cfg.backup.manifest import Source
from django_cfg.backup.models import Run
from django_cfg.backup.records import Record
from django_cfg.backup.services.monitoring.status import SourceStatus, StatusReport
from django_cfg.backup.services.runs.history_database import attempted, find_runs, history_alias

_MOST_NAMED = 3


class Verdict(StrEnum):
    """Worst first."""

    FAILED = "Failed"
    NEVER = "Never backed up"
    PARTLY_FAILED = "Partly failed"
    OVERDUE = "Overdue"
    SAFE = "Safe"


class SourceVerdict(Record):
    """One database in a word, and why."""

    database: str
    verdict: Verdict
    reason: str  # empty: it is safe


class Summary(Record):
    """The word for all databases, and the sentence that begins with it."""

    verdict: Verdict
    sentence: str
    sources: tuple[SourceVerdict, ...] = ()


def summarize(report: StatusReport, failures: Mapping[str, str], now: datetime) -> Summary:
    """
    :param failures: by alias why its last backup failed, where no later one succeeded.
    """
    sources = tuple(_judge(status, failures.get(status.database, "")) for status in report.sources)
    verdict = _worst(sources)
    if not sources:
        text = "no database is enabled for backups."
    elif verdict is Verdict.SAFE:
        text = _safe(report.sources, now)
    else:
        text = _unsafe(sources)
    if verdict is Verdict.SAFE and (
        bad := [f"{place.name}: {place.problem}" for place in report.places if not place.healthy]
    ):
        verdict, text = Verdict.PARTLY_FAILED, " ".join(bad)
    if interrupted := [kept.problem for kept in report.old_data if kept.problem]:
        verdict, text = Verdict.FAILED, " ".join(interrupted)
    return Summary(verdict=verdict, sentence=f"{verdict}: {text}", sources=sources)


def storage_failed(why: str) -> Summary:
    """The summary where the storage cannot be read: nothing else is known of the backups."""
    return Summary(verdict=Verdict.FAILED, sentence=f"{Verdict.FAILED}: the storage cannot be read. {why}")


def last_failures(report: StatusReport) -> dict[str, str]:
    """Return by alias why the last backup of a database failed, if it did.

    A backup that is stored counts, also where the history does not know of it: it was down, or is that of a dump.
    """
    found: dict[str, str] = {}
    with attempted("read the last runs") as is_possible:
        if is_possible:
            with transaction.atomic(using=history_alias()):  # a refusal must not end the transaction of the request
                for status in report.sources:
                    last = _last_run(status.source)
                    if last and last.state == Run.State.FAILED and not _made_up_for(last, status):
                        found[status.database] = last.message or "its last backup failed"
    return found


def _made_up_for(failed: Run, status: SourceStatus) -> bool:
    return bool(status.last_success and failed.started_at and status.last_success > failed.started_at)


def _last_run(source: Source) -> Run | None:
    ended = find_runs(source).filter(state__in=(Run.State.SUCCEEDED, Run.State.FAILED), started_at__isnull=False)
    return ended.order_by("-started_at").first()


def _judge(status: SourceStatus, failure: str) -> SourceVerdict:
    reason = "; ".join(filter(None, (failure, *status.problems)))
    proof = status.last_proof
    if failure or status.damaged or (proof and not proof.succeeded):
        verdict = Verdict.FAILED
    elif status.last_success is None:
        verdict, reason = Verdict.NEVER, reason or "there is no backup of it"
    elif len(status.problems) > status.overdue + status.proof_overdue:  # and not only late
        verdict = Verdict.PARTLY_FAILED
    else:
        verdict = Verdict.OVERDUE if status.problems else Verdict.SAFE
    return SourceVerdict(database=status.database, verdict=verdict, reason=reason)


def _worst(sources: Sequence[SourceVerdict]) -> Verdict:
    found = {source.verdict for source in sources}
    if found == {Verdict.FAILED}:
        return Verdict.FAILED
    if Verdict.NEVER in found or not sources:
        return Verdict.NEVER
    if found & {Verdict.FAILED, Verdict.PARTLY_FAILED}:
        return Verdict.PARTLY_FAILED
    return Verdict.OVERDUE if Verdict.OVERDUE in found else Verdict.SAFE


def _safe(statuses: Sequence[SourceStatus], now: datetime) -> str:
    several = "both databases were" if len(statuses) == 2 else f"all {len(statuses)} databases were"
    whom = f"the database {statuses[0].database} was" if len(statuses) == 1 else several
    oldest = max(status.age or timedelta() for status in statuses)
    return f"{whom} backed up {elapsed(oldest)} ago and {_proved(statuses, now)}; {_next(statuses, now)}."


def _proved(statuses: Sequence[SourceStatus], now: datetime) -> str:
    proofs = [status.last_proof for status in statuses if status.last_proof]
    if not proofs:
        return "never proved"
    when = f"proved {elapsed(now - min(proof.at for proof in proofs))} ago"
    return when if len(proofs) == len(statuses) else f"{len(proofs)} of them {when}"


def _next(statuses: Sequence[SourceStatus], now: datetime) -> str:
    slots = [status.next_slot for status in statuses if status.next_slot]
    if not slots:
        return "no schedule makes the next"
    return f"next in {elapsed(min(slots) - now)}" if min(slots) > now else "next with the next tick"


def _unsafe(sources: Sequence[SourceVerdict]) -> str:
    bad = [source for source in sources if source.verdict is not Verdict.SAFE]
    named = [f"{source.database}: {source.reason.rstrip('.')}" for source in bad[:_MOST_NAMED]]
    more = [f"and {counted(len(bad) - _MOST_NAMED, 'more database')}"] if len(bad) > _MOST_NAMED else []
    return f"{len(bad)} of {counted(len(sources), 'database')}. {'. '.join([*named, *more])}."
