"""Manifests made up for a test."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from django_cfg.backup.manifest import Archive, EngineFacts, Manifest, Source, Table
from django_cfg.backup.storage.base import Storage

STARTED = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def make_manifest(name: str = "default_20261025_023000_test", **values: Any) -> Manifest:
    """A manifest of *name*, complete; *values* replace what it says."""
    content = b"the archive of " + name.encode()
    file = name.rpartition("/")[2]
    facts: dict[str, Any] = {
        "name": name,
        "source": Source(project="tests", env="test", database="default"),
        "host": "db1",
        "trigger": "manual",
        "started_at": STARTED,
        "finished_at": STARTED,
        "archive": Archive(
            key=f"{file}.sqlite3",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            raw_size=len(content),
            raw_sha256=hashlib.sha256(content).hexdigest(),
        ),
        "compression": "none",
        "engine": EngineFacts(
            vendor="sqlite",
            server_version="3.45.0",
            tool="sqlite3 backup API",
            tool_version="3.45.0",
            format="sqlite3",
        ),
        "tables": (Table(name="book", rows=200, exact=True), Table(name="author", rows=50, exact=True)),
        "restore_hint": f"cat {file}.sqlite3 > restored.sqlite3",
    }
    return Manifest(**facts | values)


def archive_of(manifest: Manifest) -> bytes:
    """The bytes that the archive of a made-up manifest has."""
    return b"the archive of " + manifest.name.encode()


def publish(storage: Storage, *manifests: Manifest) -> None:
    """Put made-up backups into *storage*, archive and manifest each."""
    for manifest in manifests:
        storage.write(manifest.archive_key, archive_of(manifest))
        storage.write(manifest.key, manifest.to_json())
