"""How long it takes to list 10,000 backups: of a folder, and of a bucket of a local S3 server."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.manifests import archive_of
from tests.support.s3_server import S3Server

from benchmarks.measure import Facts, Section
from benchmarks.retention import SETTINGS, history

_BACKUPS = 10_000
_MOST_LOCAL = 2.0  # seconds
_READ = """
import time
import django
django.setup()
from django_cfg.backup import list_backups
from django_cfg.backup.services.project.project import current_project
current_project().storage
begun = time.perf_counter()
print(len(list_backups()), time.perf_counter() - begun)
"""


def sections(turns: int, size: float) -> Iterator[Section]:
    count = max(int(_BACKUPS * min(size, 1.0)), 10)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = S3Server(folder / "s3", "--dir-cache-time=1h")  # it remembers what is in a folder, as buckets do
        try:
            bucket = server.new_bucket()
            _store(server.data / bucket / "db-backups", count)
            _store(folder / "local", count)
            places: dict[str, dict[str, Any]] = {
                "local disk": {"local_path": str(folder / "local")},
                "S3": server.parameters(bucket),
            }
            taken = {place: _read(folder / place.replace(" ", "_"), places[place], turns) for place in places}
        finally:
            server.stop()
    lines = [f"{count:,} backups listed on {place} in {seconds:.2f} s" for place, seconds in taken.items()]
    local = taken["local disk"]
    yield Facts("Listing", lines, [f"{local:.2f} s on local disk"] if local > _MOST_LOCAL else [])


def _store(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for manifest in history(count, ["default"]):
        (folder / manifest.archive_key).write_bytes(archive_of(manifest))
        (folder / manifest.key).write_bytes(manifest.to_json())


def _read(folder: Path, storage: dict[str, Any], turns: int) -> float:
    folder.mkdir()
    (folder / "bench_settings.py").write_text(SETTINGS.format(folder=folder, storage=storage))
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "bench_settings", "PYTHONPATH": str(folder)}
    taken = []
    for _ in range(turns):
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", _READ], env=env, check=True, capture_output=True, text=True)
        found, seconds = done.stdout.split()
        assert int(found), f"nothing was listed after {time.perf_counter() - begun:.1f} s"
        taken.append(float(seconds))
    return statistics.median(taken)
