"""The prune that follows a backup: only after a success, only of that database, and never at the backup's cost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from django_cfg.backup import create_backup
from django_cfg.backup.errors import DatabaseUnavailable
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.catalog import Catalog, read_catalog
from django_cfg.backup.services.creation.batch import Failure, create_backups
from django_cfg.backup.signals import backup_succeeded, prune_failed
from django_cfg.backup.storage.base import Storage
from tests.support.django_project import Site
from tests.support.storages import Recording
from tests.support.stored_history import ONE_DAY, backups, daily, put, use_storage

SQLITE = "django.db.backends.sqlite3"


@pytest.fixture(autouse=True)
def _one_day(site: Site) -> None:
    site.configure(retention=ONE_DAY)


@pytest.fixture
def failures() -> Iterator[list[dict[str, Any]]]:
    """What the signal of a failed prune tells."""
    told: list[dict[str, Any]] = []

    def listen(**facts: Any) -> None:
        told.append(facts)

    prune_failed.connect(listen)
    yield told
    prune_failed.disconnect(listen)


def test_a_backup_takes_the_place_of_older_ones(site: Site) -> None:
    put(*daily(3))
    made = create_backup()
    assert backups(site) == {made.name}


def test_it_runs_after_the_manifest_is_there_and_the_success_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(*daily(2))
    storage = Recording(site.backups)
    use_storage(monkeypatch, storage)

    def listen(manifest: Manifest, **facts: Any) -> None:
        storage.steps.append("told")

    backup_succeeded.connect(listen)
    try:
        manifest = create_backup()
    finally:
        backup_succeeded.disconnect(listen)
    steps = [step for step in storage.steps if not step.startswith("open")]
    assert steps[:3] == [f"publish {manifest.archive_key}", f"publish {manifest.key}", "told"]
    assert {"delete default_1.json", "delete default_2.json"} <= set(steps[3:])


def test_a_failed_backup_prunes_nothing(site: Site) -> None:
    put(*daily(3))
    before = site.stored()
    site.database.unlink()
    with pytest.raises(DatabaseUnavailable):
        create_backup()
    assert site.stored() == before


def test_the_success_of_one_database_prunes_nothing_of_one_that_failed(site: Site) -> None:
    site.use_databases(
        default={"ENGINE": SQLITE, "NAME": str(site.database)},
        shop={"ENGINE": SQLITE, "NAME": str(site.root / "missing")},
    )
    put(*daily(2), *daily(2, database="shop"))
    made, failed = create_backups()
    assert isinstance(made, Manifest)
    assert isinstance(failed, Failure)
    assert backups(site) == {made.name, "shop_1", "shop_2"}


def test_the_limit_of_size_is_for_all_databases(site: Site) -> None:
    """The oldest that is not the newest of its database goes, whosever turn it is."""
    site.use_databases(
        default={"ENGINE": SQLITE, "NAME": str(site.database)}, shop={"ENGINE": SQLITE, "NAME": str(site.database)}
    )
    site.configure(retention={"keep_daily": 9, "max_total_size_mb": 1})
    big, small = daily(2, database="shop")
    put(big)
    large = small.model_copy(update={"archive": small.archive.model_copy(update={"size": 1_000_000})})
    (site.backups / "shop_2.sqlite3").write_bytes(bytes(1_000_000))
    (site.backups / "shop_2.json").write_bytes(large.to_json())
    made = create_backup()
    assert backups(site) == {made.name, "shop_1"}


def test_switched_off_nothing_is_deleted_by_itself(site: Site) -> None:
    """Not even what an interrupted run has left."""
    site.configure(retention={**ONE_DAY, "enabled": False})
    put(*daily(3))
    part = site.backups / f".default_9.sqlite3.gz.{'0a' * 16}.part"
    part.write_bytes(b"x")
    os.utime(part, (time.time() - 1e6, time.time() - 1e6))
    made = create_backup()
    assert backups(site) == {made.name, "default_1", "default_2", "default_3"}
    assert part.exists()


def test_a_backup_before_a_restore_prunes_nothing(site: Site) -> None:
    """The one to be restored may be the oldest."""
    put(*daily(3))
    create_backup(trigger="before-restore")
    assert len(backups(site)) == 4


@pytest.fixture(params=["refused deletion", "from the future", "bug"])
def trouble(request: pytest.FixtureRequest, site: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """Something that makes the prune fail; in its words."""
    put(*daily(3))
    if request.param == "refused deletion":
        use_storage(monkeypatch, Recording(site.backups, "delete default_2.json"))
        return "1 of 3 backups could not be deleted"
    if request.param == "from the future":
        (later,) = daily(1, database="logs")
        put(later.model_copy(update={"started_at": later.started_at.replace(year=2090)}))
        return "logs_1 of tests/test/logs is dated 2090-"

    def decide(*args: object, **options: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("django_cfg.backup.services.retention.prune.decide_retention", decide)
    return "ZeroDivisionError('a bug')"


def test_a_prune_that_fails_is_told_and_the_backup_is_made(
    site: Site, trouble: str, failures: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """By a warning and a signal; run and exit code are those of a success."""
    answer = site.call("backup_create", "--json")
    assert answer.code == 0
    (document,) = answer.json
    name = document["name"]
    assert name in backups(site)
    assert Run.objects.get(name=name).state == Run.State.SUCCEEDED
    (told,) = failures
    assert told["source"] == Source(project="tests", env="test", database="default")
    assert trouble in told["message"]
    assert f"The backup {name} is made; pruning old ones failed: " in caplog.text
    assert trouble in caplog.text


def test_nothing_is_pruned_when_the_new_backup_is_not_found_intact(
    site: Site, failures: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever took it away: the old ones are all there is."""
    put(*daily(3))

    def lose(storage: Storage, signing_keys: tuple[str, ...] = ()) -> Catalog:
        (newest,) = site.backups.glob("*.gz")
        newest.write_bytes(b"cut")
        return read_catalog(storage, signing_keys)

    monkeypatch.setattr("django_cfg.backup.services.creation.create.read_catalog", lose)
    create_backup()
    assert {"default_1", "default_2", "default_3"} < backups(site)
    assert "is not found there intact" in failures[0]["message"]


def test_what_was_deleted_is_told_on_the_way(site: Site) -> None:
    put(*daily(3))
    assert "3 old backups deleted, 72 bytes" in site.call("backup_create").stderr


def test_the_warning_of_the_limit_is_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.configure(retention={**ONE_DAY, "max_total_size_mb": 1})
    big = daily(1)[0]
    site.backups.mkdir()
    (site.backups / "default_1.sqlite3").write_bytes(bytes(2_000_000))
    (site.backups / "default_1.pin.json").write_bytes(b"{}")
    archive = big.archive.model_copy(update={"size": 2_000_000})
    (site.backups / "default_1.json").write_bytes(big.model_copy(update={"archive": archive}).to_json())
    create_backup()
    assert "What is never deleted takes 2.0 MB, and max_total_size_mb is 1" in caplog.text


def test_an_interruption_of_the_prune_leaves_the_run_a_success(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup is made; only the prune is cut short."""

    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    put(*daily(3))
    monkeypatch.setattr("django_cfg.backup.services.retention.prune.delete_backup", interrupted)
    with pytest.raises(KeyboardInterrupt):
        create_backup()
    assert Run.objects.get().state == Run.State.SUCCEEDED
    assert len(backups(site)) == 4
