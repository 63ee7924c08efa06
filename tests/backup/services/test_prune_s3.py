"""Pruning in a bucket: many backups, several requests at once, on a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup import prune_backups
from tests.support.django_project import Site
from tests.support.manifests import archive_of
from tests.support.s3_server import S3Server
from tests.support.stored_history import ONE_DAY, daily


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    """One that remembers what is in a folder: else each request would list it anew, and nothing be learned of ours."""
    server = S3Server(tmp_path / "s3", "--dir-cache-time=5m")
    try:
        yield server
    finally:
        server.stop()


def test_many_are_deleted_whole(site: Site, server: S3Server) -> None:
    """Nothing is left of them, and nothing is gone of the one that stays."""
    bucket = server.new_bucket()
    folder = server.data / bucket / "db-backups"
    folder.mkdir()
    made = daily(200)
    for manifest in made:
        (folder / manifest.archive_key).write_bytes(archive_of(manifest))
        (folder / manifest.key).write_bytes(manifest.to_json())
    (folder / "default_7.pin.json").write_bytes(b"{}")
    site.configure(retention=ONE_DAY, storage=server.config(bucket))
    pruned = prune_backups()
    assert len(pruned.deleted) == 198
    assert sorted(path.name for path in folder.iterdir()) == [
        "default_1.json",
        "default_1.sqlite3",
        "default_7.json",
        "default_7.pin.json",
        "default_7.sqlite3",
    ]
