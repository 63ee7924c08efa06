"""Backups as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo

from django_cfg.backup.formatting import format_time, megabytes, printable, seconds_taken
from django_cfg.backup.manifest import Manifest, Signature
from django_cfg.backup.services.catalog.catalog import Catalog

_SIGNATURES = {Signature.GOOD: "good", Signature.NONE: "unsigned", Signature.BAD: "bad signature"}
TIME_FROM = {"option": "--taken-at", "name": "its name", "file": "the age of the file"}


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are as wide as they need to be. No cell can add a line."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in (header, *rows)) for index in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )


def format_backups(
    manifests: Sequence[Manifest],
    catalog: Catalog,
    zone: tzinfo,
    proved: Mapping[str, str],
    what_keeps: Mapping[str, str],
    *,
    sources: bool,
) -> str:
    """A table of backups.

    :param sources: with project and environment; else with the alias of the database alone.
    """
    header: tuple[str, ...] = (
        "NAME",
        "SOURCE" if sources else "DATABASE",
        "STARTED",
        "SIZE",
        "ROWS",
        "TRIGGER",
        "LAST PROOF",
        "KEPT AS",
    )
    rows: list[tuple[str, ...]] = [
        (*_row(m, catalog, zone, sources=sources), proved[m.name], what_keeps[m.name]) for m in manifests
    ]
    if catalog.copies:
        header = (*header, "PLACES")
        rows = [(*row, format_places(catalog, m.name)) for row, m in zip(rows, manifests, strict=True)]
    return format_table(header, rows)


def format_places(catalog: Catalog, name: str) -> str:
    """In which places the backup *name* is, and how it is in the others."""
    states = catalog.copies[name]
    return ", ".join(each.name if each.state == "intact" else f"{each.name} ({each.state})" for each in states)


def _row(manifest: Manifest, catalog: Catalog, zone: tzinfo, *, sources: bool) -> tuple[str, ...]:
    marks = ["pinned"] if manifest.name in catalog.pinned else []
    marks += [distrust] if (distrust := catalog.distrust(manifest)) else []
    return (
        manifest.name,
        (str(manifest.source) if sources else manifest.source.database) + (" (partial)" if manifest.partial else ""),
        format_time(manifest.started_at, zone),
        megabytes(manifest.size),
        f"{manifest.rows:,}",
        ", ".join((manifest.trigger, *marks)),
    )


def _describe_archives(manifest: Manifest) -> dict[str, str]:
    facts = {}
    for number, part in enumerate(manifest.parts, start=1):
        mark = "" if number == 1 else f" {number}"
        archive = part.archive
        facts[f"Archive{mark}"] = (
            f"{part.archive_key}, {megabytes(archive.size)} ({megabytes(archive.raw_size)} unpacked)"
        )
        facts[f"SHA-256{mark}"] = archive.sha256
    return facts


def _describe_adoption(manifest: Manifest, zone: tzinfo) -> dict[str, str]:
    if not (adopted := manifest.adopted):
        return {}
    said = TIME_FROM[adopted.time_from]
    return {"Adopted": f"from {adopted.name} on {format_time(adopted.at, zone)}; when it was made, {said} says"}


def format_backup(
    manifest: Manifest,
    zone: tzinfo,
    migrations: str,
    proved: str,
    what_keeps: str,
    signature: Signature | None,
    places: str = "",
) -> str:
    """Everything worth knowing of one backup."""
    engine = manifest.engine
    facts = {
        "Name": manifest.name,
        "Source": str(manifest.source),
        "Started": format_time(manifest.started_at, zone),
        "Took": seconds_taken(manifest.took.total_seconds()),
        "Trigger": f"{manifest.trigger}, on {manifest.host or 'an unknown host'}",
        **_describe_adoption(manifest, zone),
        **_describe_archives(manifest),
        "Compression": manifest.compression,
        "Encryption": ", ".join((manifest.encryption.method, *manifest.encryption.recipients)),
        **({"Signature": _SIGNATURES[signature]} if signature else {}),
        "Engine": f"{engine.vendor} {engine.server_version}, by {engine.tool} {engine.tool_version}",
        "Excluded": ", ".join(manifest.excluded) or "nothing",
        "Partial": "yes: only the tables below" if manifest.partial else "no",
        "Migrations": migrations or "as in your code",
        "Proved": proved,
        **({"Places": places} if places else {}),
        "Kept as": what_keeps,
        "Note": manifest.note or "none",
        "By hand": manifest.restore_hint,
    }
    tables = [(table.name, f"{table.rows:,}" if table.exact else f"about {table.rows:,}") for table in manifest.tables]
    width = max(map(len, facts))
    head = "\n".join(f"{name.ljust(width)}  {printable(value)}" for name, value in facts.items())
    return f"{head}\n\n{format_table(('TABLE', 'ROWS'), tables)}"
