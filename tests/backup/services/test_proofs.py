"""Proofs next to their backups: the last drill counts."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.errors import BackupNotFound, StorageError, VerificationFailed
from django_cfg.backup.manifest import Encryption, Manifest, Proof, proof_key, proof_time
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.retention.delete import delete_backup
from django_cfg.backup.services.retention.leftovers import find_leftovers
from django_cfg.backup.services.retention.prune import execute_prune, plan_prune, prune_backups
from django_cfg.backup.services.verification.drill import drill_backup
from django_cfg.backup.services.verification.proofs import can_be_opened_here, publish_proof, write_proof
from django_cfg.backup.storage.local import LocalStorage
from tests.support.django_project import Site
from tests.support.manifests import make_manifest, publish
from tests.support.retention_histories import proof_of
from tests.support.stored_history import ONE_DAY, Locking, backups, daily, put, use_storage

BACKUP = make_manifest("shop")


def stored(folder: Path) -> Locking:
    """A storage with one backup that deletes nothing: every object in it is locked."""
    storage = Locking(folder)
    storage.locks_all = True
    publish(storage, BACKUP)
    return storage


def drilled(storage: Locking, *results: bool) -> None:
    for succeeded in results:
        write_proof(storage, BACKUP, proof_of(BACKUP, succeeded=succeeded))


def change_row_count(site: Site, manifest: Manifest) -> None:
    changed = manifest.model_dump_json(by_alias=True).replace('"name":"book","rows":200', '"name":"book","rows":201')
    (site.backups / manifest.key).write_text(changed)


class TestSeveral:
    def test_a_failure_ends_proved(self, tmp_path: Path) -> None:
        storage = stored(tmp_path)
        drilled(storage, True)
        assert read_catalog(storage).is_proved(BACKUP)
        drilled(storage, False)
        catalog = read_catalog(storage)
        assert not catalog.is_proved(BACKUP)
        assert not catalog.proofs["shop"].succeeded
        assert len(catalog.proof_keys["shop"]) == 2
        assert [manifest.name for manifest in catalog.backups] == ["shop"]
        assert catalog.damaged == ()

    def test_a_later_success_counts_again(self, tmp_path: Path) -> None:
        storage = stored(tmp_path)
        drilled(storage, True, False, True)
        assert read_catalog(storage).is_proved(BACKUP)

    def test_the_key_is_the_time(self, tmp_path: Path) -> None:
        storage = stored(tmp_path)
        before = datetime.now(UTC).replace(microsecond=0)
        drilled(storage, True, False)
        first, second = read_catalog(storage).proof_keys["shop"]
        assert re.fullmatch(r"shop\.\d{8}T\d{6}Z\.proof\.json", first)
        times = [proof_time(key) for key in (first, second)]
        assert before <= times[0] < times[1]

    def test_the_newest_counts_although_another_clock_is_ahead(self, tmp_path: Path) -> None:
        storage = stored(tmp_path)
        ahead = datetime.now(UTC) + timedelta(days=400)
        storage.write(proof_key("shop", ahead), proof_of(BACKUP, succeeded=True).to_json())
        drilled(storage, False)
        assert not read_catalog(storage).is_proved(BACKUP)

    def test_an_unreadable_proof_is_not_replaced_by_an_older_one(self, tmp_path: Path) -> None:
        storage = stored(tmp_path)
        drilled(storage, True)
        storage.write(proof_key("shop", datetime.now(UTC) + timedelta(hours=1)), b"{")
        catalog = read_catalog(storage)
        assert not catalog.is_proved(BACKUP)
        assert catalog.unreadable_proofs == {"shop"}

    def test_deleting_a_backup_takes_all_its_proofs(self, tmp_path: Path) -> None:
        storage = stored(tmp_path)
        drilled(storage, True, False)
        storage.locks_all = False
        delete_backup(storage, "shop", BACKUP.archive_keys)
        assert list(tmp_path.iterdir()) == []

    def test_a_backup_whose_name_ends_like_a_time_has_its_own_proofs(self, tmp_path: Path) -> None:
        name = "shop.20260101T020000Z"
        other = make_manifest(name, archive=BACKUP.archive.model_copy(update={"key": f"{name}.sqlite3"}))
        storage = stored(tmp_path)
        publish(storage, other)
        drilled(storage, True)
        write_proof(storage, other, proof_of(other, succeeded=False))
        catalog = read_catalog(storage)
        assert (catalog.is_proved(BACKUP), catalog.is_proved(other)) == (True, False)


class TestPruning:
    @pytest.fixture
    def storage(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> Locking:
        site.configure(retention=ONE_DAY)
        storage = Locking(site.backups)
        use_storage(monkeypatch, storage)
        put(*daily(3))
        write_proof(storage, daily(3)[2], proof_of(daily(3)[2], succeeded=True))
        return storage

    def test_a_disproved_backup_is_not_kept_as_proved(self, site: Site, storage: Locking) -> None:
        write_proof(storage, daily(3)[2], proof_of(daily(3)[2], succeeded=False))
        prune_backups()
        assert site.stored() == ["default_1.json", "default_1.sqlite3"]

    def test_a_backup_that_is_proved_again_in_the_meantime_stays(self, site: Site, storage: Locking) -> None:
        write_proof(storage, daily(3)[2], proof_of(daily(3)[2], succeeded=False))
        due = plan_prune()
        write_proof(storage, daily(3)[2], proof_of(daily(3)[2], succeeded=True))
        assert [outcome.why for outcome in execute_prune(due).kept] == ["proved in the meantime"]
        assert backups(site) == {"default_1", "default_3"}

    def test_of_a_kept_backup_only_the_last_proof_stays(self, site: Site, storage: Locking) -> None:
        """Also where the last one cannot be deleted; another project's are left alone."""
        for succeeded in (True, False, True):
            write_proof(storage, daily(3)[2], proof_of(daily(3)[2], succeeded=succeeded))
        last = read_catalog(storage).proof_keys["default_3"][-1]
        report = prune_backups()
        assert len(report.swept) == 3
        assert read_catalog(storage).proof_keys == {"default_3": (last,)}

    def test_superseded_proofs_that_are_locked_stay(
        self, site: Site, storage: Locking, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing is wrong with that, so no prune warns of it."""
        write_proof(storage, daily(3)[2], proof_of(daily(3)[2], succeeded=True))
        storage.locked = read_catalog(storage).proof_keys["default_3"]
        assert prune_backups().swept == ()
        assert not [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(read_catalog(storage).proof_keys["default_3"]) == 2


def test_proofs_without_a_backup_are_one_leftover(site: Site) -> None:
    storage = current_project().storage
    for key in (proof_key("default_20260101_020000_test", datetime(2026, 2, day, tzinfo=UTC)) for day in (1, 2)):
        storage.write(key, b"{}")
    project = current_project()
    (found,) = find_leftovers(project, project.places[0], read_catalog(storage))
    assert found.name == "default_20260101_020000_test"
    assert len(found.objects) == 2


def test_a_failed_drill_is_notified_even_if_its_proof_cannot_be_stored(
    site: Site, books: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a failed drill, not as a drill that could not be made."""
    manifest = site.create()
    change_row_count(site, manifest)
    received: list[Proof | None] = []

    def hear(proof: Proof | None, **_: Any) -> None:
        received.append(proof)

    class Full(Locking):
        def write(self, key: str, data: bytes) -> None:
            raise StorageError("The storage is full.")

    from django_cfg.backup import signals

    signals.verification_failed.connect(hear)
    try:
        use_storage(monkeypatch, Full(site.backups))
        with pytest.raises(VerificationFailed, match=r"instead of 201.*The storage is full"):
            drill_backup()
    finally:
        signals.verification_failed.disconnect(hear)
    assert [proof and proof.succeeded for proof in received] == [False]


class Vanishing(LocalStorage):
    """Another machine deletes the backup while its proof is written."""

    def write(self, key: str, data: bytes) -> None:
        super().write(key, data)
        if key.endswith(".proof.json"):
            self.delete(BACKUP.key)


class TestDeletedMeanwhile:
    def test_no_proof_is_left_behind(self, tmp_path: Path) -> None:
        storage = Vanishing(tmp_path)
        publish(storage, BACKUP)
        with pytest.raises(BackupNotFound, match="shop was deleted while it was drilled: nothing is proved"):
            write_proof(storage, BACKUP, proof_of(BACKUP, succeeded=True))
        assert [path.name for path in tmp_path.iterdir()] == [BACKUP.archive_key]

    def test_in_all_places(self, site: Site) -> None:
        site.configure(copies=[{"name": "offsite", "storage": {"local_path": str(site.root / "offsite")}}])
        with pytest.raises(BackupNotFound, match="shop was deleted while it was drilled"):
            publish_proof(current_project(), BACKUP, proof_of(BACKUP, succeeded=True))
        assert not site.backups.exists()

    def test_a_place_that_refuses_it_gets_it_later(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        site.configure(copies=[{"name": "offsite", "storage": {"local_path": str(site.root / "offsite")}}])
        for place in current_project().places:
            publish(place.storage, BACKUP)
        write = LocalStorage.write

        def refuse(storage: LocalStorage, key: str, data: bytes) -> None:
            if storage.root.name == "offsite":
                raise StorageError("It is read-only.")
            write(storage, key, data)

        monkeypatch.setattr(LocalStorage, "write", refuse)
        publish_proof(current_project(), BACKUP, proof_of(BACKUP, succeeded=True))
        assert read_catalog(current_project().storage).is_proved(BACKUP)
        assert "shop: the proof is not written in offsite" in caplog.text
        assert "It is read-only." in caplog.text


def test_without_gpg_nothing_that_is_encrypted_to_a_key_is_proved_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_be_opened_here(BACKUP)
    sealed = make_manifest("shop", encryption=Encryption(method="public-key", recipients=("A" * 40,)))
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not can_be_opened_here(sealed)
