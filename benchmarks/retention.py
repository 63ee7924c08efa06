"""What retention takes: deciding on 10,000 backups, and deleting 1,000 of a bucket of a local S3 server."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.support.manifests import archive_of, make_manifest
from tests.support.s3_server import S3Server

from benchmarks.measure import Facts, Section
from django_cfg.backup.config.backup import BackupRetentionConfig
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.policy.retention import Scope, Sidecars, plan

SETTINGS = """
from django_cfg import BackupConfig
SECRET_KEY = "bench"
USE_TZ = True
ENV_MODE = "test"
INSTALLED_APPS = ["django_cfg.backup"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{folder}/bench.sqlite3"}}}}
BACKUP = BackupConfig(
    enabled=True,
    project="tests",
    storage={storage!r},
    retention={{"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0}},
)
"""
NOW = datetime(2026, 6, 1, tzinfo=UTC)
DECIDED, DELETED = 10_000, 1_000
DATABASES = [f"database{number}" for number in range(10)]


def sections(turns: int, size: float) -> Iterator[Section]:
    decided, deleted = (max(int(count * min(size, 1.0)), 100) for count in (DECIDED, DELETED))
    planned = [_decide(decided) for _ in range(turns)]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        pruned = [_prune(folder / str(turn), deleted) for turn in range(turns)]
    lines = [
        f"the plan for {decided:,} backups of {len(DATABASES)} databases: {_durations(planned)}",
        f"`backup_prune` of {deleted:,} backups in a bucket, all of the process: {_durations(pruned)}",
    ]
    yield Facts("Retention", lines)


def history(count: int, databases: list[str]) -> Iterator[Manifest]:
    """A backup every hour, of one database after the other."""
    pattern = make_manifest()
    for number in range(count):
        started_at, database = NOW - timedelta(hours=1 + number), databases[number % len(databases)]
        name = f"{database}_{started_at:%Y%m%d_%H%M%S}_test"
        source = Source(project="tests", env="test", database=database)
        archive = pattern.archive.model_copy(update={"key": f"{name}.sqlite3", "size": len(name) + 15})
        yield pattern.model_copy(update={"name": name, "source": source, "started_at": started_at, "archive": archive})


def _decide(count: int) -> float:
    manifests = list(history(count, DATABASES))
    policy = BackupRetentionConfig(keep_daily=30, keep_weekly=52, keep_monthly=24, max_total_size_mb=1)
    scope = Scope("tests", "test", frozenset(DATABASES))
    begun = time.process_time()  # it waits for nothing
    plan(manifests, Sidecars(), policy, NOW, ZoneInfo("Europe/Berlin"), scope)
    return time.process_time() - begun


def _prune(folder: Path, count: int) -> float:
    folder.mkdir()
    server = S3Server(folder / "s3", "--dir-cache-time=1h")  # it remembers what is in a folder, as buckets do
    try:
        return _pruned(folder, server, count)
    finally:
        server.stop()


def _pruned(folder: Path, server: S3Server, count: int) -> float:
    bucket = server.new_bucket()
    stored = server.data / bucket / "db-backups"
    stored.mkdir()
    for manifest in history(count + 1, ["default"]):
        (stored / manifest.archive_key).write_bytes(archive_of(manifest))
        (stored / manifest.key).write_bytes(manifest.to_json())
    (folder / "bench_settings.py").write_text(SETTINGS.format(folder=folder, storage=server.parameters(bucket)))
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "bench_settings",
           "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}  # fmt: skip
    begun = time.perf_counter()
    command = [sys.executable, "-m", "django", "backup_prune", "--yes", "--verbosity=0"]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - begun
    left = len(list(stored.iterdir()))
    assert left <= 2 * 24, f"{left} objects are left"  # the newest day, archive and manifest each
    return taken


def _durations(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s (median of {len(seconds)})"
