"""The prune after a backup: only after a success, only of that database, and it never fails the backup."""

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
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.creation.batch import Failure, create_backups
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.signals import backup_succeeded, prune_failed
from tests.support.django_project import Site
from tests.support.storages import Recording
from tests.support.stored_history import ONE_DAY, backups, daily, put, use_storage

SQLITE = "django.db.backends.sqlite3"


@pytest.fixture(autouse=True)
def _one_day(site: Site) -> None:
    site.configure(retention=ONE_DAY)


@pytest.fixture
def failures() -> Iterator[list[dict[str, Any]]]:
    """Collect what the signal of a failed prune sends."""
    received: list[dict[str, Any]] = []

    def listen(**facts: Any) -> None:
        received.append(facts)

    prune_failed.connect(listen)
    yield received
    prune_failed.disconnect(listen)


def test_a_backup_replaces_older_ones(site: Site) -> None:
    put(*daily(3))
    made = create_backup()
    assert backups(site) == {made.name}


def test_the_prune_runs_after_the_manifest_and_the_signal_of_success(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(*daily(2))
    storage = Recording(site.backups)
    use_storage(monkeypatch, storage)

    def listen(manifest: Manifest, **facts: Any) -> None:
        storage.steps.append("success sent")

    backup_succeeded.connect(listen)
    try:
        manifest = create_backup()
    finally:
        backup_succeeded.disconnect(listen)
    steps = [step for step in storage.steps if not step.startswith("open")]
    assert steps[:3] == [f"publish {manifest.archive_key}", f"publish {manifest.key}", "success sent"]
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
    """The oldest one that is not the newest of its database is deleted, whichever database was backed up."""
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


def test_with_backups_switched_off_nothing_is_deleted_automatically(site: Site) -> None:
    """Not even partial files of an interrupted run."""
    site.configure(retention={**ONE_DAY, "enabled": False})
    put(*daily(3))
    part = site.backups / f".default_9.sqlite3.gz.{'0a' * 16}.part"
    part.write_bytes(b"x")
    os.utime(part, (time.time() - 1e6, time.time() - 1e6))
    made = create_backup()
    assert backups(site) == {made.name, "default_1", "default_2", "default_3"}
    assert part.exists()


def test_a_backup_before_a_restore_prunes_nothing(site: Site) -> None:
    """The backup to be restored may be the oldest."""
    put(*daily(3))
    site.create(trigger="before-restore")
    assert len(backups(site)) == 4


@pytest.fixture(params=["refused deletion", "from the future", "bug"])
def trouble(request: pytest.FixtureRequest, site: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the prune fail; the text of its error."""
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


def test_a_failed_prune_is_reported_and_the_backup_succeeds(
    site: Site, trouble: str, failures: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """By a warning and a signal; run and exit code are those of a success."""
    answer = site.call("backup_create", "--json")
    assert answer.code == 0
    (document,) = answer.json
    name = document["name"]
    assert name in backups(site)
    assert Run.objects.get(name=name).state == Run.State.SUCCEEDED
    (failure,) = failures
    assert failure["source"] == Source(project="tests", env="test", database="default")
    assert trouble in failure["message"]
    assert f"The backup {name} is made; pruning old ones failed: " in caplog.text
    assert trouble in caplog.text


def test_nothing_is_pruned_if_the_new_backup_is_not_intact(
    site: Site, failures: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old backups are then the only ones."""
    put(*daily(3))

    def lose(project: Project) -> Catalog:
        (newest,) = site.backups.glob("*.gz")
        newest.write_bytes(b"cut")
        return read_places(project)

    monkeypatch.setattr("django_cfg.backup.services.creation.create.read_places", lose)
    create_backup()
    assert {"default_1", "default_2", "default_3"} < backups(site)
    assert "is not found there intact" in failures[0]["message"]


def test_deleted_backups_are_reported_as_progress(site: Site) -> None:
    put(*daily(3))
    assert "3 old backups deleted, 72 bytes" in site.call("backup_create").stderr


def test_the_warning_of_the_size_limit_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
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
