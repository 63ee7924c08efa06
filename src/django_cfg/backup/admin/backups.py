"""All backups, from the storage and not from the history; and all that is known of one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import partial

from django.contrib.admin import AdminSite
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse
from pydantic import ValidationError

from django_cfg.backup.admin.access import requires
from django_cfg.backup.admin.base import render
from django_cfg.backup.errors import BackupError, StorageError
from django_cfg.backup.manifest import PIN_SUFFIX, Manifest, Pin, Proof
from django_cfg.backup.policy.retention import Decision, expected_ends
from django_cfg.backup.services.catalog.catalog import CopyState, Damaged
from django_cfg.backup.services.monitoring.object_cache import ObjectCache
from django_cfg.backup.services.monitoring.snapshot import PATIENCE, Stored, read_backups, within
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.retention.delete import protection, protections
from django_cfg.backup.services.verification.migration_state import compare_migrations
from django_cfg.backup.services.verification.proofs import can_be_drilled

PER_PAGE = 100
_FILTERS = ("proved", "unproved", "pinned", "unsigned")


@dataclass(frozen=True)
class Row:
    """One backup of the list."""

    manifest: Manifest
    proof: Proof | None
    is_proved: bool
    is_pinned: bool
    distrust: str
    decision: Decision | None
    ends: date | None  # when no rule keeps it any more
    protected: tuple[str, ...]
    copies: tuple[CopyState, ...]  # of several places

    @property
    def fate(self) -> str:
        """Why it is kept, and when it goes."""
        if self.decision is None:
            return "unknown: a clock is wrong"
        if not self.decision.keep:
            return f"goes with the next prune: {self.decision}"
        if self.protected:
            return f"{self.decision}; stays as the {' and '.join(self.protected)}"
        return f"{self.decision}" + (f"; goes about {self.ends:%d %b %Y}" if self.ends else "")


@requires("view_backup")
def list_page(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Search, filter and page through the backups; damaged ones come first."""
    stored = read_backups()
    rows = [row for row in list_rows(stored) if _is_wanted(row, request)]
    page: Page[Row] = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    query = request.GET.copy()
    query.pop("page", None)
    context = {
        "stored": stored,
        "page": page,
        "count": len(rows),
        "damaged": _damaged(stored, request),
        "sources": sorted({backup.source.database for backup in stored.backups}),
        "filters": _FILTERS,
        "has_places": bool(stored.catalog and stored.catalog.copies),
        "chosen": request.GET,
        "query": query.urlencode(),
        "others": len(stored.catalog.backups) - len(stored.backups) if stored.catalog else 0,
    }
    return render(site, request, "backups", "All backups", context)


@requires("view_backup")
def detail_page(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """One backup: ``?name=``."""
    stored = read_backups()
    row = find_row(stored, request.GET.get("name", ""))
    manifest = row.manifest
    context = {
        "stored": stored,
        "row": row,
        "manifest": manifest,
        "migrations": compare_migrations(manifest.migrations),
        "proofs": read_proofs(stored.project, stored, manifest.name),
        "pin": read_pin(stored.project, manifest.name) if row.is_pinned else None,
        "protection": protection(stored.catalog, manifest) if stored.catalog else "",
        "can_be_drilled": can_be_drilled(manifest),
        "is_own": stored.project.owns(manifest.source),
        "location": stored.project.location,
    }
    return render(site, request, "backup", manifest.name, context)


def find_row(stored: Stored, name: str) -> Row:
    """
    :raises Http404: the storage has no intact backup of this name.
    :raises StorageError: the storage cannot be read.
    """
    if stored.catalog is None:
        raise StorageError(stored.error)
    for row in list_rows(stored, every_source=True):
        if row.manifest.name == name:
            return row
    raise Http404(f"There is no intact backup of the name {name!r}.")


def read_proofs(project: Project, stored: Stored, name: str) -> list[Proof]:
    """Return all drills of a backup, the last one first; those that cannot be read are left out."""
    catalog = stored.catalog
    wanted = [catalog.proof_objects[key] for key in catalog.proof_keys.get(name, ())] if catalog else []
    if not wanted:
        return []

    def read() -> list[tuple[str, bytes | StorageError]]:
        found: dict[str, bytes | StorageError] = {}
        for place in project.places:  # a proof may be in some of them only
            missing = [each for each in wanted if not isinstance(found.get(each.key), bytes)]
            found |= dict(ObjectCache(place.storage).read_many(missing)) if missing else {}
        return list(found.items())

    found = []
    for key, content in within(PATIENCE, read, project.location):
        if isinstance(content, bytes):
            try:
                found.append(Proof.from_json(content, key))
            except BackupError:
                continue  # the list says that it cannot be read
    return sorted(found, key=lambda proof: proof.at, reverse=True)


def read_pin(project: Project, name: str) -> Pin | None:
    """Return who has pinned a backup, and why; None: that cannot be read."""
    try:
        return Pin.model_validate_json(
            within(PATIENCE, partial(_read_anywhere, project, f"{name}{PIN_SUFFIX}"), project.location)
        )
    except (BackupError, ValidationError):
        return None


def _read_anywhere(project: Project, key: str) -> bytes:
    """
    :raises StorageError: why the first place cannot give it, if none can.
    """
    failures = []
    for place in project.places:
        try:
            return place.storage.read(key)
        except StorageError as error:
            failures.append(error)
    raise failures[0]


def list_rows(stored: Stored, *, every_source: bool = False) -> list[Row]:
    catalog = stored.catalog
    if catalog is None:
        return []
    decisions, kept = stored.decisions(), protections(catalog)
    today = stored.now.astimezone(stored.project.zone).date()
    ends = expected_ends(stored.backups, stored.project.config.retention, stored.project.zone, today)
    return [
        Row(
            manifest=manifest,
            proof=catalog.proofs.get(manifest.name),
            is_proved=catalog.is_proved(manifest),
            is_pinned=manifest.name in catalog.pinned,
            distrust=catalog.distrust(manifest),
            decision=decisions.get(manifest.name),
            ends=ends.get(manifest.name),
            protected=kept.get(manifest.name, ()),
            copies=catalog.copies.get(manifest.name, ()),
        )
        for manifest in (catalog.backups if every_source else stored.backups)
    ]


def _is_wanted(row: Row, request: HttpRequest) -> bool:
    manifest, wanted = row.manifest, request.GET
    text = wanted.get("q", "").casefold()
    facts = {"proved": row.is_proved, "unproved": not row.is_proved, "pinned": row.is_pinned, "unsigned": row.distrust}
    return (
        wanted.get("source", "") in ("", manifest.source.database)
        and bool(facts.get(wanted.get("only", ""), True))
        and wanted.get("only", "") != "damaged"
        and (not text or text in f"{manifest.name} {manifest.note} {manifest.host}".casefold())
    )


def _damaged(stored: Stored, request: HttpRequest) -> tuple[Damaged, ...]:
    if stored.catalog is None or request.GET.get("only", "") in _FILTERS:
        return ()
    return stored.catalog.damaged
