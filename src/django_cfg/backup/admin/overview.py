"""The overview: how everything is, in one sentence; then each database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.admin import AdminSite
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse

from django_cfg.backup.admin.access import requires
from django_cfg.backup.admin.base import render
from django_cfg.backup.admin.calendar import Cell, band, days_of, year
from django_cfg.backup.admin.charts import Chart, Usage, charts
from django_cfg.backup.formatting import MB, elapsed
from django_cfg.backup.manifest import Manifest, Proof
from django_cfg.backup.models import Run
from django_cfg.backup.services.jobs.launch import describe_way
from django_cfg.backup.services.monitoring.snapshot import Snapshot, read_snapshot
from django_cfg.backup.services.monitoring.status import SourceStatus
from django_cfg.backup.services.monitoring.summary import SourceVerdict
from django_cfg.backup.services.retention.delete import protections
from django_cfg.backup.services.retention.prune import of_place
from django_cfg.backup.services.runs.history_database import attempted, find_runs

IN_FULL = 6  # databases; of more there are lines, each with a page of its own
_YEAR = timedelta(days=371)


@dataclass(frozen=True)
class Card:
    """One database."""

    verdict: SourceVerdict
    status: SourceStatus
    newest: Manifest | None
    next_slot: str
    who_decrypts: str
    calendar: list[Cell]
    band: list[Cell]
    charts: list[Chart]
    running: Run | None

    @property
    def took(self) -> str:
        return elapsed(self.newest.took) if self.newest else ""

    @property
    def age(self) -> str:
        return elapsed(self.status.age) if self.status.age is not None else ""

    @property
    def proof(self) -> Proof | None:
        return self.status.last_proof

    @property
    def recovery(self) -> str:
        """The expected recovery time."""
        return elapsed(timedelta(seconds=self.proof.duration)) if self.proof and self.proof.succeeded else ""


@requires("view_backup")
def page(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """How everything is; with ``?database=`` one database in full."""
    snapshot = read_snapshot()
    only = request.GET.get("database")
    if only and only not in snapshot.stored.project.aliases():
        raise Http404
    cards = make_cards(snapshot, only)
    context = {
        "snapshot": snapshot,
        "cards": cards,
        "in_full": only is not None or len(cards) <= IN_FULL,
        "only": only,
        "usage": make_usage(snapshot),
        "way": describe_way(snapshot.stored.project),
    }
    return render(site, request, "overview", "Backups", context)


def make_cards(snapshot: Snapshot, only: str | None = None) -> list[Card]:
    """Return the cards of all databases, or of one; the worst first."""
    if snapshot.report is None:
        return []
    order = [verdict.value for verdict in type(snapshot.summary.verdict)]
    pairs = sorted(
        zip(snapshot.summary.sources, snapshot.report.sources, strict=True),
        key=lambda pair: order.index(pair[0].verdict),
    )
    in_full = only is not None or len(pairs) <= IN_FULL
    runs = _runs(snapshot, [only] if only else [status.database for _, status in pairs]) if in_full else {}
    return [
        _card(snapshot, verdict, status, runs.get(status.database, []), in_full=in_full)
        for verdict, status in pairs
        if only in (None, status.database)
    ]


def _card(snapshot: Snapshot, verdict: SourceVerdict, status: SourceStatus, runs: list[Run], *, in_full: bool) -> Card:
    zone, now = snapshot.stored.zone, snapshot.stored.now
    backups = [backup for backup in snapshot.stored.backups if backup.source.database == status.database]
    newest = backups[0] if backups else None
    schedule = snapshot.stored.project.config.schedule_for(status.database)
    days = days_of(backups, runs, snapshot.stored.catalog, zone) if in_full else {}
    return Card(
        verdict=verdict,
        status=status,
        newest=newest,
        next_slot=_next(status, snapshot),
        who_decrypts=_who_decrypts(newest, here=status.provable_here) if newest else "",
        calendar=year(days, now.astimezone(zone).date()) if in_full else [],
        band=band(schedule, backups, runs, zone, now) if in_full else [],
        charts=charts(backups, zone) if in_full else [],
        running=next((run for run in runs if run.state == Run.State.RUNNING), None),
    )


def make_usage(snapshot: Snapshot) -> Usage | None:
    """Return what the backups of this project take in ``main``; None: it cannot be read."""
    project, catalog = snapshot.stored.project, snapshot.stored.catalog
    in_main = of_place(catalog, project.places[0]) if catalog else None
    if in_main is None:
        return None
    limit = project.config.retention.max_total_size_mb
    kept, backups = protections(in_main), in_main.of(project)
    held = [backup for backup in backups if backup.name in kept]
    return Usage(
        used=sum(backup.size for backup in backups),
        floor=sum(backup.size for backup in held),
        limit=limit * MB if limit else None,
    )


def _runs(snapshot: Snapshot, databases: Collection[str]) -> dict[str, list[Run]]:
    """The runs of backups of *databases* in the last year, by alias."""
    found: dict[str, list[Run]] = {}
    project, since = snapshot.stored.project, snapshot.stored.now - _YEAR
    with attempted("read the history of a year") as is_possible:
        if is_possible:
            of_project = find_runs().filter(project=project.name, env=project.env, kind=Run.Kind.BACKUP)
            rows = of_project.filter(Q(started_at__gt=since) | Q(slot__gt=since), database__in=databases)
            for row in rows.only("database", "state", "started_at", "slot"):
                found.setdefault(row.database, []).append(row)
    return found


def _next(status: SourceStatus, snapshot: Snapshot) -> str:
    if status.next_slot is None:
        return "by hand: no schedule backs it up"
    left = status.next_slot - snapshot.stored.now
    if left < timedelta(0):
        return "due now, with the next tick"
    return f"in {elapsed(left)}, {status.next_slot.astimezone(snapshot.stored.zone):%a %H:%M}"


def _who_decrypts(manifest: Manifest, *, here: bool) -> str:
    encryption = manifest.encryption
    if encryption.method == "none":
        return "not encrypted: anyone who can read the storage"
    if encryption.method == "passphrase":
        return "anyone who has the passphrase; this machine has the one of its settings"
    this = "this machine can" if here else "this machine cannot"
    return f"who has the private key of {', '.join(encryption.recipients)}; {this}"
