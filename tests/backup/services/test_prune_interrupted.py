"""A prune that is interrupted after any step: every listed backup is complete, and all backups to keep exist."""

from __future__ import annotations

from random import Random

import pytest

from django_cfg import BackupConfig, BackupStorageConfig
from django_cfg.backup.manifest import PIN_SUFFIX, Manifest, proof_key
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.retention.prune import PrunePlan, PruneReport, execute_prune
from tests.support.manifests import archive_of
from tests.support.retention_histories import History, for_all_histories
from tests.support.storages import Memory, Stopped


def stored(history: History) -> Memory:
    """The history in a storage; its archives are small, whatever the retention believes."""
    storage = Memory()
    for manifest in history.manifests:
        content = archive_of(manifest)
        archive = manifest.archive.model_copy(update={"size": len(content)})
        storage.write(manifest.archive_key, content)
        storage.write(manifest.key, manifest.model_copy(update={"archive": archive}).to_json())
    for name, proof in history.sidecars.proofs.items():
        storage.write(proof_key(name, proof.at), proof.to_json())
    for name in history.sidecars.unreadable:
        storage.write(proof_key(name, history.now), b"{")
    for name in history.sidecars.pinned:
        storage.write(f"{name}{PIN_SUFFIX}", b"{}")
    return storage


def prune(history: History, storage: Memory, steps: float) -> PruneReport | None:
    """Prune, and stop after *steps*; None when it was stopped."""
    project = Project(
        BackupConfig(retention=history.policy), history.scope.project, history.scope.env, history.zone, None, {}
    )
    due = PrunePlan(
        project, Place("main", BackupStorageConfig(), storage, history.policy), read_catalog(storage), history.plan()
    )
    storage.steps = steps
    try:
        return execute_prune(due)
    except Stopped:
        return None
    finally:
        storage.steps = float("inf")


def listed_complete(history: History, storage: Memory) -> list[Manifest]:
    """Return the listed backups of the history; assert that each is complete."""
    catalog = read_catalog(storage)
    assert catalog.damaged == ()
    names = {manifest.name for manifest in catalog.backups}
    return [manifest for manifest in history.manifests if manifest.name in names]


@pytest.mark.parametrize("examples", [50, pytest.param(100_000, marks=pytest.mark.long)])
def test_after_an_interruption_no_listed_backup_is_incomplete(examples: int) -> None:
    def promise(history: History, chance: Random) -> None:
        storage, due = stored(history), history.plan()
        prune(history, storage, chance.randrange(6 * len(due.due) + 1))
        left = listed_complete(history, storage)
        assert {m.name for m in due.kept} <= {m.name for m in left}
        gone = [manifest for manifest in history.manifests if manifest not in left]
        rest = history.without(gone)
        finished = prune(rest, storage, float("inf"))
        assert finished
        assert set(finished.deleted) <= {m.name for m in due.due}
        assert not finished.failed
        assert not finished.kept
        assert [m.name for m in listed_complete(rest, storage)] == [
            m.name for m in rest.manifests if m in rest.plan().kept
        ]

    for_all_histories(promise, examples)
