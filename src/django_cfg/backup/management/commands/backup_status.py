"""manage.py backup_status"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, tzinfo
from typing import Any

from django_cfg.backup.errors import Unhealthy
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.management.command import BackupCommand
from django_cfg.backup.management.output import backups, proofs
from django_cfg.backup.services.catalog.catalog import Catalog, read_catalog
from django_cfg.backup.services.monitoring.status import SourceStatus, status_of
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.restore.kept_data import KeptData, NotAsked, list_set_aside

_HEADER = ("SOURCE", "LAST BACKUP", "AGE", "SIZE", "NEXT", "LAST PROOF", "STATE")


class Command(BackupCommand):
    help = "Show how the backups stand, from the storage alone. Exit code 4: something is unhealthy or overdue."

    def run(self, **options: Any) -> Any:
        project = current_project()
        catalog = read_catalog(project.storage)
        statuses = status_of(project, catalog)
        self.show(backups.columns(_HEADER, [_row(status, project.zone) for status in statuses]))
        self._warn_of_others(catalog, statuses)
        kept, unknown = self._old_data(project)
        problems = [f"{status.source}: {problem}." for status in statuses for problem in status.problems]
        problems += [found.problem for found in kept if found.problem]
        document = {
            "healthy": not problems,
            "sources": [_document(status) for status in statuses],
            "old_data": [_kept(found) for found in kept],
            "old_data_unknown": unknown,
        }
        if problems:
            if self.as_json:
                self.print_document(document)
            raise Unhealthy("\n".join(problems))
        return document

    def _warn_of_others(self, catalog: Catalog, statuses: list[SourceStatus]) -> None:
        """Damaged pairs that are of no source of ours."""
        own = {damaged.name for status in statuses for damaged in status.damaged}
        others = tuple(damaged for damaged in catalog.damaged if damaged.name not in own)
        self.warn_of_damage(replace(catalog, damaged=others))

    def _old_data(self, project: Project) -> tuple[list[KeptData], list[str]]:
        """What restores have set aside, and the databases of which that is not known: no problem of the backups."""
        kept, unknown = [], []
        for found in list_set_aside(project):
            if isinstance(found, NotAsked):
                self.warn(f"Whether {found.database} has old data set aside is not known: {found.error}")
                unknown.append(found.database)
                continue
            if not found.problem:
                told = f"{found.name}, {megabytes(found.size)}, set aside {_age(found.age)} ago"
                self.show(f"Old data of {found.database}: {told}.")
            kept.append(found)
        return kept, unknown


def _row(status: SourceStatus, zone: tzinfo) -> tuple[str, ...]:
    last = status.last
    return (
        str(status.source),
        backups.local(last.started_at, zone) if last else "never",
        _age(status.age) if status.age is not None else "-",
        megabytes(last.archive.size) if last else "-",
        backups.local(status.next_slot, zone) if status.next_slot else "no schedule",
        _proof(status, zone),
        "OVERDUE" if status.is_overdue else "UNHEALTHY" if status.problems else "ok",
    )


def _proof(status: SourceStatus, zone: tzinfo) -> str:
    if status.proof is None and not status.is_provable_here:
        return "cannot be proved here"
    return proofs.short(status.proof, zone)


def _age(age: timedelta) -> str:
    hours, minutes = divmod(int(age.total_seconds()) // 60, 60)
    return f"{hours // 24} d {hours % 24} h" if hours >= 48 else f"{hours} h {minutes} min"


def _document(status: SourceStatus) -> dict[str, Any]:
    last = status.last
    return {
        **status.source.model_dump(),
        "healthy": not status.problems,
        "overdue": status.is_overdue,
        "problems": list(status.problems),
        "last_success": last.started_at.isoformat() if last else None,
        "last_backup": last.name if last else None,
        "age_seconds": int(status.age.total_seconds()) if status.age is not None else None,
        "size": last.archive.size if last else None,
        "next_slot": status.next_slot.isoformat() if status.next_slot else None,
        "last_proof": proofs.document(status.proof),
        "provable_here": status.is_provable_here,
        "damaged": [{"name": damaged.name, "error": str(damaged.error)} for damaged in status.damaged],
    }


def _kept(found: KeptData) -> dict[str, Any]:
    return {
        "database": found.database,
        "name": found.name,
        "size": found.size,
        "made_at": found.made_at.isoformat(),
        "unfinished": found.is_unfinished,
    }
