"""manage.py backup_status"""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Any

from django_cfg.backup.errors import StorageError, Unhealthy, UsageError
from django_cfg.backup.formatting import format_time, megabytes
from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.exit_codes import UNHEALTHY, failing
from django_cfg.backup.management.output import backups, proofs
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.monitoring.metrics import read_metrics, write_metrics
from django_cfg.backup.services.monitoring.status import PlaceStatus, SourceStatus, StatusReport, read_status
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import current_project

_PATIENCE = 30.0  # seconds for metrics: no person waits, and a tick of cron must not pile up
_HEADER = ("SOURCE", "LAST BACKUP", "AGE", "SIZE", "NEXT", "LAST PROOF", "STATE")

_PLACES = ("PLACE", "LOCATION", "BACKUPS", "SIZE", "NEWEST", "MISSING", "STATE")


class Command(BackupCommand):
    help = "Show how the backups are doing, from the storage alone."
    exit_codes = failing("the storage cannot be read", UNHEALTHY)

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--format",
            dest="form",
            choices=["text", "prometheus"],
            default="text",
            help="With `prometheus`, print metrics; exit code 0 also if something is unhealthy: the metrics say so.",
        )
        parser.add_argument(
            "--output",
            metavar="FILE",
            help="Write the metrics to FILE, which is replaced in one step: for the textfile collector of "
            "node_exporter, whose files end with .prom.",
        )

    def run(self, *, form: str, output: str | None, **options: Any) -> Any:
        if form == "prometheus":
            return self._export(output)
        if output:
            raise UsageError("--output is for --format prometheus.")
        return self._report()

    def _export(self, output: str | None) -> None:
        if self.as_json:
            raise UsageError("--json and --format prometheus exclude each other: give only one of them.")
        metrics = read_metrics(_PATIENCE)
        if output:
            write_metrics(metrics, Path(output))
        else:
            self.stdout.write(str(metrics), ending="")
        if metrics.error:
            raise StorageError(metrics.error)

    def _report(self) -> StatusReport:
        project = current_project()
        catalog = read_places(project)
        report = read_status(project, catalog)
        self.show(backups.format_table(_HEADER, [_row(status, project.zone) for status in report.sources]))
        if report.places:
            self.show(backups.format_table(_PLACES, [_place_row(place, project.zone) for place in report.places]))
        for place in report.places:
            if place.problem and place.healthy:
                self.warn(f"{place.name}: {place.problem}")
        own = {damaged.name for status in report.sources for damaged in status.damaged}
        self.warn_of_damage(damaged for damaged in catalog.damaged if damaged.name not in own)
        self._show_old_data(report)
        if report.problems:
            self.print_document(report)
            raise Unhealthy(*report.problems)
        return report

    def _show_old_data(self, report: StatusReport) -> None:
        for found in report.unreachable:
            self.warn(f"Whether a restore has kept old data of {found.database} is not known: {found.error}")
        for kept in report.old_data:
            if not kept.problem:
                details = f"{kept.name}, {megabytes(kept.size)}, kept for {_age(kept.age)}"
                self.show(f"Old data of {kept.database}: {details}.")


def _row(status: SourceStatus, zone: tzinfo) -> tuple[str, ...]:
    return (
        str(status.source),
        format_time(status.last_success, zone) if status.last_success else "never",
        _age(status.age) if status.age is not None else "-",
        megabytes(status.size) if status.size is not None else "-",
        _next(status, zone),
        _proof(status, zone),
        "OVERDUE" if status.overdue else "UNHEALTHY" if status.problems else "ok",
    )


def _place_row(place: PlaceStatus, zone: tzinfo) -> tuple[str, ...]:
    return (
        place.name,
        place.location,
        "-" if place.backups is None else str(place.backups),
        "-" if place.size is None else megabytes(place.size),
        format_time(place.newest, zone) if place.newest else "-",
        str(len(place.missing)) if place.reachable else "-",
        "ok" if not place.problem else "warning" if place.healthy else "UNHEALTHY" if place.reachable else "AWAY",
    )


def _next(status: SourceStatus, zone: tzinfo) -> str:
    if status.next_slot is None:
        return "no schedule"
    return "at the next tick" if status.next_slot <= clock.now() else format_time(status.next_slot, zone)


def _proof(status: SourceStatus, zone: tzinfo) -> str:
    if status.last_proof is None and not status.provable_here:
        return "cannot be proved here"
    return proofs.format_proof_cell(status.last_proof, zone)


def _age(age: timedelta) -> str:
    hours, minutes = divmod(int(age.total_seconds()) // 60, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
