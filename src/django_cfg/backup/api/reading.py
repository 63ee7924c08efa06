"""list, show, status, and what a prune would delete."""

from __future__ import annotations

from typing import Any

from django_cfg.backup.api.arguments import ListQuery, NoQuery, PruneQuery, ShowQuery, read_query
from django_cfg.backup.api.endpoint import Call
from django_cfg.backup.api.storage import read_catalog, read_report
from django_cfg.backup.services.catalog.catalog import find_backup, require_known_database
from django_cfg.backup.services.monitoring.status import StatusReport
from django_cfg.backup.services.retention.prune import (
    PrunePlan,
    PruneReport,
    decide_retention,
    of_place,
    preview_report,
    report_of_all,
)


def list_backups(call: Call) -> list[dict[str, Any]]:
    """As ``backup_list --json``."""
    query = read_query(call.request, ListQuery)
    catalog = read_catalog()
    require_known_database(call.project, catalog, query.database)
    own = catalog.backups if query.all else catalog.of(call.project)
    return [catalog.document(found) for found in own if query.database in (None, found.source.database)]


def show_backup(call: Call, name: str) -> dict[str, Any]:
    """As ``backup_show NAME --json``."""
    query = read_query(call.request, ShowQuery)
    catalog = read_catalog()
    return catalog.document(find_backup(catalog, call.project, name, query.database))


def show_status(call: Call) -> StatusReport:
    """As ``backup_status --json``; what is unhealthy is in the document, and is no error."""
    read_query(call.request, NoQuery)
    return read_report(call.project)


def preview_prune(call: Call) -> PruneReport:
    """As ``backup_prune --dry-run --json``."""
    query = read_query(call.request, PruneQuery)
    project, catalog = call.project, read_catalog()
    plans = [
        PrunePlan(project, place, found, decide_retention(project, found, place, orphans=query.orphans))
        for place in project.places
        if (found := of_place(catalog, place)) is not None
    ]
    return report_of_all([preview_report(due) for due in plans])
