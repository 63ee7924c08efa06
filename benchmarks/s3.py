"""PostgreSQL into a bucket of a local S3 server, against the same into a folder of the same disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.postgresql_server import PostgreSQL, postgresql_programs
from tests.support.s3_server import S3Server

from benchmarks.measure import Contender, in_turns, report
from benchmarks.postgresql import fill
from benchmarks.project import backing_up

SETTINGS = """
from pathlib import Path
from django_cfg import BackupConfig
BASE_DIR = Path(__file__).parent
SECRET_KEY = "bench"
USE_TZ = True
INSTALLED_APPS = ["django_cfg.backup"]
DATABASES = {{"default": {database!r}}}
BACKUP = BackupConfig(
    enabled=True, project="bench", compression="{compression}", tools_dir="{tools}", storage={storage!r}
)
"""
_HASHED_ONCE = (
    "--ignore-checksum",
    "--etag-hash=",
)  # the default reads all of it twice
BASELINE = "backup_create, gzip, local"


def main(turns: int = 5, scale: float = 1.0) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = PostgreSQL(postgresql_programs()[0], folder / "server")
        bucket = S3Server(folder / "s3", *_HASHED_ONCE)
        try:
            fill(server, scale)
            results = in_turns(list(_contenders(folder, server, bucket)), turns)
            size = server.sql("SELECT pg_database_size('bench')")[0][0]
            print(f"PostgreSQL to S3, {size / 1e6:,.0f} MB on its disk, {turns} turns, medians")  # type: ignore[operator]
            print(report(results, BASELINE))
        finally:
            bucket.stop()
            server.stop("immediate")


def _contenders(folder: Path, server: PostgreSQL, bucket: S3Server) -> Iterable[Contender]:
    stored = bucket.data / bucket.new_bucket("bench")
    remote = bucket.parameters("bench")
    for compression in ("gzip", "none"):
        local = folder / f"local-{compression}"
        storage = {"local_path": str(local)}
        yield _contender(folder, server, f"backup_create, {compression}, local", compression, storage, local)
        yield _contender(folder, server, f"backup_create, {compression}, S3", compression, remote, stored)


def _contender(
    folder: Path, server: PostgreSQL, name: str, compression: str, storage: dict[str, Any], place: Path
) -> Contender:
    settings = SETTINGS.format(
        database=server.settings("bench"), compression=compression, tools=server.programs, storage=storage
    )
    return backing_up(folder, name, settings, programs=server.programs, place=place)
