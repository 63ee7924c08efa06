"""Proofs in a storage that lets nothing go: the last drill counts, whatever stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.errors import StorageError, VerificationFailed
from django_cfg.backup.manifest import Manifest, Proof
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.retention.delete import delete_backup
from django_cfg.backup.services.retention.leftovers import find_leftovers
from django_cfg.backup.services.retention.prune import carry_out, plan_prune, prune_backups
from django_cfg.backup.services.verification.drill import drill_backup
from django_cfg.backup.services.verification.proofs import publish_proof
from tests.backup.manifests import make_manifest, publish
from tests.backup.policy.histories import proof_of
from tests.backup.services.pruning import ONE_DAY, Locking, backups, daily, put, use_storage
from tests.sites import Site

BACKUP = make_manifest("shop")


def locked(folder: Path, *names: str) -> Locking:
    storage = Locking(folder, *names)
    publish(storage, BACKUP)
    return storage


def drilled(storage: Locking, *results: bool) -> None:
    for succeeded in results:
        publish_proof(storage, BACKUP, proof_of(BACKUP, succeeded=succeeded))


def lie(site: Site, manifest: Manifest) -> None:
    told = manifest.model_dump_json(by_alias=True).replace('"name":"book","rows":200', '"name":"book","rows":201')
    (site.backups / manifest.key).write_text(told)


class TestLocked:
    def test_a_failure_ends_proved_although_the_success_cannot_be_deleted(self, tmp_path: Path) -> None:
        storage = locked(tmp_path, "shop.proof.json")
        drilled(storage, True)
        assert read_catalog(storage).is_proved(BACKUP)
        drilled(storage, False)
        catalog = read_catalog(storage)
        assert not catalog.is_proved(BACKUP)
        assert not catalog.proofs["shop"].succeeded
        assert catalog.proof_numbers == {"shop": (1, 2)}
        assert [manifest.name for manifest in catalog.backups] == ["shop"]
        assert catalog.damaged == ()

    def test_and_a_later_success_counts_again(self, tmp_path: Path) -> None:
        storage = locked(tmp_path, "shop.proof.json")
        drilled(storage, True, False, True)
        assert read_catalog(storage).is_proved(BACKUP)

    def test_where_it_may_be_replaced_there_is_one(self, tmp_path: Path) -> None:
        """Also when the lock of earlier ones has ended."""
        storage = locked(tmp_path, "shop.proof.json")
        drilled(storage, True, False, False)
        storage.locked = ()
        drilled(storage, True)
        assert [path.name for path in tmp_path.glob("*.proof.json")] == ["shop.proof.json"]
        assert read_catalog(storage).is_proved(BACKUP)

    def test_the_last_one_counts_when_only_the_first_may_go(self, tmp_path: Path) -> None:
        storage = locked(tmp_path, "shop.proof.json", "shop.2.proof.json")
        drilled(storage, True, False)
        storage.locked = ("shop.2.proof.json",)
        drilled(storage, True)
        assert read_catalog(storage).proof_numbers == {"shop": (2, 3)}
        assert read_catalog(storage).is_proved(BACKUP)

    def test_a_permission_that_is_missing_is_no_different(self, tmp_path: Path) -> None:
        class Keeping(Locking):
            def delete(self, key: str) -> None:
                raise StorageError(f"Not allowed to delete {key}.")

        storage = Keeping(tmp_path)
        publish(storage, BACKUP)
        drilled(storage, True, False)
        assert not read_catalog(storage).is_proved(BACKUP)

    def test_one_that_cannot_be_read_is_not_passed_over_for_an_older_one(self, tmp_path: Path) -> None:
        storage = locked(tmp_path, "shop.proof.json")
        drilled(storage, True)
        storage.write("shop.2.proof.json", b"{")
        catalog = read_catalog(storage)
        assert not catalog.is_proved(BACKUP)
        assert catalog.unreadable_proofs == {"shop"}

    def test_deleting_a_backup_takes_all_its_proofs(self, tmp_path: Path) -> None:
        storage = locked(tmp_path, "shop.proof.json")
        drilled(storage, True, False)
        storage.locked = ()
        delete_backup(storage, "shop", BACKUP.archive_key)
        assert list(tmp_path.iterdir()) == []

    def test_a_backup_whose_name_ends_in_a_number_has_its_own(self, tmp_path: Path) -> None:
        other = make_manifest("shop.2", archive=BACKUP.archive.model_copy(update={"key": "shop.2.sqlite3"}))
        storage = locked(tmp_path)
        publish(storage, other)
        drilled(storage, True)
        publish_proof(storage, other, proof_of(other, succeeded=False))
        catalog = read_catalog(storage)
        assert (catalog.is_proved(BACKUP), catalog.is_proved(other)) == (True, False)


class TestPruning:
    @pytest.fixture
    def storage(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> Locking:
        site.configure(retention=ONE_DAY)
        storage = Locking(site.backups, "default_3.proof.json")
        use_storage(monkeypatch, storage)
        put(*daily(3))
        publish_proof(storage, daily(3)[2], proof_of(daily(3)[2], succeeded=True))
        return storage

    def test_a_disproved_one_is_not_kept_as_proved(self, site: Site, storage: Locking) -> None:
        publish_proof(storage, daily(3)[2], proof_of(daily(3)[2], succeeded=False))
        storage.locked = ()
        prune_backups()
        assert site.stored() == ["default_1.json", "default_1.sqlite3"]

    def test_one_that_is_proved_again_meanwhile_stays(self, site: Site, storage: Locking) -> None:
        publish_proof(storage, daily(3)[2], proof_of(daily(3)[2], succeeded=False))
        due = plan_prune()
        publish_proof(storage, daily(3)[2], proof_of(daily(3)[2], succeeded=True))
        assert [outcome.kept for outcome in carry_out(due).kept] == ["proved meanwhile"]
        assert backups(site) == {"default_1", "default_3"}


def test_proofs_that_lost_their_backup_are_one_leftover(site: Site) -> None:
    storage = current_project().storage
    for key in ("default_20260101_020000_test.proof.json", "default_20260101_020000_test.2.proof.json"):
        storage.write(key, b"{}")
    (found,) = find_leftovers(current_project(), read_catalog(storage))
    assert found.name == "default_20260101_020000_test"
    assert len(found.objects) == 2


def test_a_failure_that_cannot_be_kept_is_told_all_the_same(
    site: Site, books: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what it is: not as a drill that could not be made."""
    manifest = site.create()
    lie(site, manifest)
    told: list[Proof | None] = []

    def hear(proof: Proof | None, **_: Any) -> None:
        told.append(proof)

    class Full(Locking):
        def write(self, key: str, data: bytes) -> None:
            raise StorageError("The storage is full.")

    from django_cfg.backup import signals

    signals.drill_failed.connect(hear)
    try:
        use_storage(monkeypatch, Full(site.backups))
        with pytest.raises(VerificationFailed, match=r"instead of 201.*The storage is full"):
            drill_backup()
    finally:
        signals.drill_failed.disconnect(hear)
    assert [proof and proof.succeeded for proof in told] == [False]
