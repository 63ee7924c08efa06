"""Deleting a backup: in an order that never leaves a listed backup without its archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.backup.errors import StorageError
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.retention.delete import delete_backup
from tests.support.manifests import make_manifest, publish
from tests.support.storages import Recording

PROOF = "shop.20260101T020000Z.proof.json"


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_manifest_is_deleted_first_and_the_archive_last(tmp_path: Path) -> None:
    """The sidecars are deleted in between."""
    storage, manifest = Recording(tmp_path), make_manifest("shop")
    publish(storage, manifest)
    storage.write("shop.20260101T020000Z.proof.json", b"{}")
    storage.write("shop.pin.json", b"{}")
    storage.steps.clear()
    delete_backup(storage, "shop", manifest.archive_keys)
    assert storage.steps[0] == "delete shop.json"
    assert set(storage.steps[1:-1]) == {"delete shop.20260101T020000Z.proof.json", "delete shop.pin.json"}
    assert storage.steps[-1] == "delete shop.sqlite3"
    assert files(tmp_path) == set()


@pytest.mark.parametrize(
    "failing", ["delete shop.json", "delete shop.20260101T020000Z.proof.json", "delete shop.sqlite3"]
)
def test_a_refused_step_is_an_error_and_stops(tmp_path: Path, failing: str) -> None:
    """Either the complete backup is still listed, or it is no longer a backup."""
    storage, manifest = Recording(tmp_path, failing), make_manifest("shop")
    publish(storage, manifest)
    storage.write("shop.20260101T020000Z.proof.json", b"{}")
    with pytest.raises(StorageError, match="the storage is gone"):
        delete_backup(storage, "shop", manifest.archive_keys)
    catalog = read_catalog(storage)
    assert catalog.damaged == ()
    assert [found.name for found in catalog.backups] == (["shop"] if failing == "delete shop.json" else [])


def test_backups_with_similar_names_stay(tmp_path: Path) -> None:
    storage = Recording(tmp_path)
    publish(storage, make_manifest("app"), make_manifest("app_logs"), make_manifest("app-2"))
    delete_backup(storage, "app", ["app.sqlite3"])
    assert files(tmp_path) == {"app_logs.json", "app_logs.sqlite3", "app-2.json", "app-2.sqlite3"}
