"""Deleting backups that retention does not keep: checks before each deletion, failures, and reports."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from django_cfg.backup import prune_backups
from django_cfg.backup.errors import BackupNotFound, ClockSkew, StorageError
from django_cfg.backup.manifest import Manifest, proof_key
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.retention.pins import pin_backup
from django_cfg.backup.services.retention.prune import execute_prune, plan_prune, still_due
from django_cfg.backup.storage.local import LocalStorage
from django_cfg.backup.storage.local.direct_io import PIECE
from tests.support.django_project import Site
from tests.support.manifests import publish
from tests.support.retention_histories import proof_of
from tests.support.s3_server import S3Server
from tests.support.storages import Recording
from tests.support.stored_history import NOW, ONE_DAY, Locking, backups, daily, put, use_storage

DAY = 24 * 3600


@pytest.fixture(autouse=True)
def _one_day(site: Site) -> None:
    site.configure(retention=ONE_DAY)


def test_a_due_backup_is_deleted_with_its_sidecars(site: Site) -> None:
    put(*daily(3))
    for manifest in daily(3)[1:]:
        proof = proof_of(manifest, succeeded=False)
        (site.backups / proof_key(manifest.name, proof.at)).write_bytes(proof.to_json())
    pruned = prune_backups()
    assert pruned.deleted == ("default_3", "default_2")
    assert pruned.freed == sum(manifest.archive.size for manifest in daily(3)[1:])
    assert site.stored() == ["default_1.json", "default_1.sqlite3"]


def test_a_dry_run_deletes_nothing(site: Site) -> None:
    put(*daily(3))
    before = site.stored()
    pruned = prune_backups(dry_run=True)
    assert [decision.name for decision in pruned.decisions if not decision.keep] == ["default_2", "default_3"]
    assert (pruned.deleted, site.stored()) == ((), before)


def test_backups_are_deleted_in_parallel_oldest_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each manifest is deleted before its archive."""
    storage = Recording(site.backups)
    use_storage(monkeypatch, storage)
    put(*daily(60))
    storage.steps.clear()
    assert len(prune_backups().deleted) == 59
    assert backups(site) == {"default_1"}
    deletions = [step for step in storage.steps if step.startswith("delete")]
    first = [deletions.index(f"delete default_{number}.json") for number in range(2, 61)]
    last = [deletions.index(f"delete default_{number}.sqlite3") for number in range(2, 61)]
    assert all(manifest < archive for manifest, archive in zip(first, last, strict=True))
    assert first[-1] < first[0]


def test_a_damaged_backup_is_not_deleted_automatically(site: Site) -> None:
    """It counts for no day, and is never deleted automatically, however old."""
    put(*daily(4))
    (site.backups / "default_1.sqlite3").write_bytes(b"cut")
    (site.backups / "default_4.json").write_text("{")
    assert prune_backups().deleted == ("default_3",)
    assert backups(site) == {"default_1", "default_2", "default_4"}


def test_other_environments_and_similar_names_stay(site: Site) -> None:
    site.use_databases(
        default={"ENGINE": "django.db.backends.sqlite3", "NAME": str(site.database)},
        app={"ENGINE": "django.db.backends.sqlite3", "NAME": "a"},
        app_logs={"ENGINE": "django.db.backends.sqlite3", "NAME": "b"},
    )
    put(*daily(2, database="app"), *daily(2, database="app_logs"), *daily(2, database="app", env="production"))
    prune_backups()
    assert backups(site) == {"app_1", "app_logs_1", "production_app_1", "production_app_2"}


def test_a_backup_from_the_future_stops_the_prune(site: Site) -> None:
    future = daily(1)[0].model_copy(update={"started_at": daily(1)[0].started_at.replace(year=2090)})
    put(*daily(3)[1:], future)
    with pytest.raises(ClockSkew, match=r"default_1 of tests/test/default is dated 2090-.*backup_delete default_1"):
        prune_backups()
    assert backups(site) == {"default_1", "default_2", "default_3"}


def test_an_unreadable_proof_keeps_its_backup(site: Site) -> None:
    """It may be the only proved backup."""
    put(*daily(3))
    (site.backups / proof_key("default_3", NOW)).write_text("{")
    assert read_catalog(current_project().storage).unreadable_proofs == {"default_3"}
    prune_backups()
    assert backups(site) == {"default_1", "default_3"}


class TestChangesAfterTheDecision:
    def test_a_new_pin_keeps_the_backup(self, site: Site) -> None:
        put(*daily(3))
        due = plan_prune()
        pin_backup(due.project, daily(3)[2])
        pruned = execute_prune(due)
        assert [(outcome.name, outcome.why) for outcome in pruned.kept] == [("default_3", "pinned in the meantime")]
        assert backups(site) == {"default_1", "default_3"}

    @pytest.mark.parametrize(("succeeded", "stays"), [(True, {"default_3"}), (False, set())])
    def test_a_new_proof_keeps_the_backup_and_a_failed_drill_does_not(
        self, site: Site, succeeded: bool, stays: set[str]
    ) -> None:
        """Otherwise two prunes could each delete the backup that the other keeps as the newest proved one."""
        put(*daily(3))
        due = plan_prune()
        due.storage.write(proof_key("default_3", NOW), proof_of(daily(3)[2], succeeded=succeeded).to_json())
        assert [outcome.why for outcome in execute_prune(due).kept] == ["proved in the meantime"] * len(stays)
        assert backups(site) == {"default_1"} | stays

    def test_an_unreadable_new_proof_keeps_the_backup(self, site: Site) -> None:
        put(*daily(3))
        due = plan_prune()
        due.storage.write(proof_key("default_3", NOW), b"{")
        execute_prune(due)
        assert backups(site) == {"default_1", "default_3"}

    def test_a_backup_that_is_no_longer_due_is_kept(self, site: Site) -> None:
        """While one person reads the table, another one removes newer backups."""
        put(*daily(4))
        shown = plan_prune()
        shown.storage.delete("default_1.json")
        put(*daily(6)[5:])
        due = still_due({manifest.name for manifest in shown.retention.due}, plan_prune())
        assert [manifest.name for manifest in due.retention.due] == ["default_3", "default_4"]  # 6 was not shown

    def test_pinning_a_deleted_backup_is_an_error(self, site: Site) -> None:
        put(*daily(2))
        gone = daily(2)[1]
        prune_backups()
        with pytest.raises(BackupNotFound, match="default_2 was deleted in this moment"):
            pin_backup(current_project(), gone)
        assert backups(site) == {"default_1"}
        assert not (site.backups / "default_2.pin.json").exists()


class TestRefused:
    def test_a_failed_deletion_is_reported_and_tried_again_next_time(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(*daily(4))
        use_storage(monkeypatch, Recording(site.backups, "delete default_3.json"))
        with pytest.raises(StorageError, match=r"1 of 3 backups could not be deleted.*\ndefault_3: .*storage is gone"):
            prune_backups()
        assert backups(site) == {"default_1", "default_3"}
        use_storage(monkeypatch, Recording(site.backups))
        assert prune_backups().deleted == ("default_3",)

    def test_only_the_first_of_many_failures_are_listed(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        put(*daily(9))
        use_storage(monkeypatch, Recording(site.backups, "delete"))
        with pytest.raises(StorageError, match="8 of 8 backups could not be deleted") as caught:
            prune_backups()
        assert str(caught.value).endswith("and 3 more")
        assert len(backups(site)) == 9

    def test_locked_backups_are_kept_without_a_failure(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        put(*daily(3))
        use_storage(monkeypatch, Locking(site.backups, "default_2.json"))
        pruned = prune_backups()
        assert [(outcome.name, outcome.why) for outcome in pruned.kept] == [("default_2", "locked")]
        assert backups(site) == {"default_1", "default_2"}

    def test_an_archive_locked_without_its_manifest_is_a_failure(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is no backup any more, so it is not reported as kept."""
        put(*daily(2))
        use_storage(monkeypatch, Locking(site.backups, "default_2.sqlite3"))
        with pytest.raises(StorageError, match=r"--leftovers[^:]*:\ndefault_2: default_2\.sqlite3 is locked until"):
            prune_backups()


class TestTwoPrunes:
    def test_simultaneous_prunes_both_succeed(self, site: Site) -> None:
        put(*daily(60))
        plans = [plan_prune(), plan_prune()]
        with ThreadPoolExecutor(2) as threads:
            done = list(threads.map(execute_prune, plans))
        assert [pruned.failed for pruned in done] == [(), ()]
        assert backups(site) == {"default_1"}


class TestUnfinished:
    @pytest.fixture
    def part(self, site: Site) -> Callable[[str, float], Path]:
        def make(name: str, hours: float) -> Path:
            path = site.backups / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
            when = time.time() - hours * 3600
            os.utime(path, (when, when))
            return path

        return make

    @pytest.mark.parametrize(
        ("name", "hours", "goes"),
        [
            (f".default_1.sqlite3.gz.{'0a' * 16}.part", 24.1, True),
            (f"2026/10/.default_1.json.{'0a' * 16}.part", 1000, True),
            (f".default_1.sqlite3.gz.{'0a' * 16}.part", 23.9, False),
            (f"default_1.sqlite3.gz.{'0a' * 16}.part", 1000, False),
            (f".default_1.sqlite3.gz.{'0A' * 16}.part", 1000, False),
            (f".{'0a' * 16}.part", 1000, False),
            (".default_1.sqlite3.gz.part", 1000, False),
            (f".mine/.default_1.sqlite3.gz.{'0a' * 16}.part", 1000, False),
            ("notes.part", 1000, False),
        ],
    )
    def test_only_old_partial_files_of_this_package_are_removed(
        self, site: Site, part: Callable[[str, float], Path], name: str, hours: float, goes: bool
    ) -> None:
        path = part(name, hours)
        assert prune_backups(dry_run=True).swept == ()
        assert path.exists()
        assert prune_backups().swept == ((name,) if goes else ())
        assert path.exists() is not goes

    def test_a_recently_written_partial_file_is_in_use(self, site: Site) -> None:
        """As with a dump of more than a day: the last write counts, not the beginning."""
        storage = LocalStorage(site.backups)
        with storage.publish("default_1.sqlite3") as sink:
            sink.write(b"x" * 1_000_000)
            (path,) = site.backups.glob(".*.part")
            os.utime(path, (time.time() - 2 * DAY, time.time() - 2 * DAY))
            sink.write(b"x" * 3 * PIECE)
            assert prune_backups().swept == ()
        assert storage.stat("default_1.sqlite3")

    def test_a_run_whose_partial_file_was_removed_publishes_nothing(self, site: Site) -> None:
        """It fails with an error message."""
        storage = LocalStorage(site.backups)

        def publish() -> None:
            with storage.publish("default_1.sqlite3") as sink:
                sink.write(b"x")
                (path,) = site.backups.glob(".*.part")
                os.utime(path, (time.time() - 2 * DAY, time.time() - 2 * DAY))
                assert len(prune_backups().swept) == 1

        with pytest.raises(StorageError, match=r"Could not publish .*No such file"):
            publish()
        assert site.stored() == []

    def test_a_partial_file_that_cannot_be_removed_is_logged_and_stops_nothing(
        self,
        site: Site,
        part: Callable[[str, float], Path],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        part(f".default_1.sqlite3.gz.{'0a' * 16}.part", 25)
        put(*daily(2))
        use_storage(monkeypatch, Recording(site.backups, ".part"))
        assert prune_backups().deleted == ("default_2",)
        assert "part stays: Could not delete" in caplog.text


def test_no_thread_is_left(site: Site) -> None:
    put(*daily(40))
    before = threading.active_count()
    prune_backups()
    assert threading.active_count() == before


def test_backups_of_a_plan_are_deleted_by_their_full_names(site: Site) -> None:
    """Not by a prefix, by which the clean-up of ``app`` would also delete ``app-2``."""
    made: list[Manifest] = daily(2)
    longer = made[0].model_copy(
        update={
            "name": "default_2-2",
            "archive": made[0].archive.model_copy(update={"key": "default_2-2.sqlite3", "size": 30}),
        }
    )
    put(made[1])
    storage = current_project().storage
    storage.write("default_2-2.sqlite3", bytes(30))
    storage.write("default_2-2.json", longer.to_json())
    assert prune_backups().deleted == ("default_2",)
    assert backups(site) == {"default_2-2"}


def test_many_backups_are_deleted_completely_in_a_bucket(site: Site, caching_s3_server: S3Server) -> None:
    """No object of them is left, and no object of the kept one is missing."""
    bucket = caching_s3_server.new_bucket()
    folder = caching_s3_server.data / bucket / "db-backups"
    made = daily(200)
    publish(LocalStorage(folder), *made)
    (folder / "default_7.pin.json").write_bytes(b"{}")
    site.configure(retention=ONE_DAY, storage=caching_s3_server.config(bucket))
    pruned = prune_backups()
    assert len(pruned.deleted) == 198
    assert sorted(path.name for path in folder.iterdir()) == [
        "default_1.json",
        "default_1.sqlite3",
        "default_7.json",
        "default_7.pin.json",
        "default_7.sqlite3",
    ]
