"""Copies in further places: made from one dump, made up for, read when others are damaged or away."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import (
    ConfigurationError,
    CopyFailed,
    NameTaken,
    StorageError,
    VerificationFailed,
)
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.copies import copy
from django_cfg.backup.services.copies.copy import copy_missing, write_manifest
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.progress import SILENT
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.project.secrets import secrets_of
from django_cfg.backup.services.restore.pre_restore_backup import back_up_first
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.services.schedule.verification_job import VerificationResult
from django_cfg.backup.services.verification.drill import drill_backup
from django_cfg.backup.services.verification.verify import verify_backup
from django_cfg.backup.signals import prune_failed, schedule_succeeded, verification_failed
from django_cfg.backup.storage.local import LocalStorage
from django_cfg.backup.storage.local.partial_file import PartialFile
from tests.support import needs
from tests.support.django_project import Site
from tests.support.stopped_clock import Clock

ONE_DAY: dict[str, Any] = {"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0}


def local(path: Path | str) -> dict[str, Any]:
    return {"backend": "local", "local_path": str(path)}


class Places:
    """``main``, ``offsite`` and ``attic``, each a folder."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.main, self.offsite, self.attic = (site.root / name for name in ("backups", "offsite", "attic"))
        self.configure()

    def configure(self, **changes: Any) -> None:
        copies = [
            {"name": "offsite", "storage": local(self.offsite), **changes.pop("offsite", {})},
            {"name": "attic", "storage": local(self.attic), "required": False, **changes.pop("attic", {})},
        ]
        self.site.configure(**{"storage": local(self.main), "copies": copies, **changes})

    def files(self, folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def take_away(self, folder: Path) -> None:
        """Whatever asks for it gets an error."""
        if folder.exists():
            folder.rename(folder.with_suffix(".away"))
        folder.write_text("a file where a folder is expected")

    def bring_back(self, folder: Path) -> None:
        folder.unlink()
        if folder.with_suffix(".away").exists():
            folder.with_suffix(".away").rename(folder)

    def states(self, name: str) -> dict[str, str]:
        return {each.name: each.state for each in read_places(current_project()).copies[name]}


@pytest.fixture
def places(site: Site, books: Path) -> Iterator[Places]:
    return Places(site)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(clock, "now", lambda: stopped.now)
    return stopped


def create_daily(time: Clock, count: int) -> list[Manifest]:
    """The newest comes last."""
    manifests = []
    for _ in range(count):
        time.advance(days=1)
        manifests.append(create_backup())
    return manifests


def cut(folder: Path, manifest: Manifest) -> None:
    """Shorten the archive by a byte: the listing shows it."""
    path = folder / manifest.archive_key
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder: Path, manifest: Manifest) -> None:
    """Change a byte of the archive: only reading shows it."""
    path = folder / manifest.archive_key
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class TestOneDump:
    def test_all_places_get_the_same_bytes(self, places: Places) -> None:
        manifest = create_backup()
        found = places.files(places.main)
        assert set(found) == {manifest.key, manifest.archive_key}
        assert places.files(places.offsite) == places.files(places.attic) == found

    def test_one_that_is_away_is_dropped_and_the_others_get_it(self, places: Places) -> None:
        places.take_away(places.offsite)
        with pytest.raises(CopyFailed, match="offsite") as failure:
            create_backup()
        manifest = failure.value.manifest
        assert places.files(places.main) == places.files(places.attic)
        assert places.states(manifest.name) == {"main": "intact", "offsite": "unknown", "attic": "intact"}

    def test_main_may_be_the_one(self, places: Places) -> None:
        places.take_away(places.main)
        with pytest.raises(CopyFailed, match="main"):
            create_backup()
        assert len(places.files(places.offsite)) == 2
        assert places.files(places.offsite) == places.files(places.attic)

    def test_one_that_is_not_required_only_warns(self, places: Places) -> None:
        places.take_away(places.attic)
        answer = places.site.call("backup_create")
        assert answer.code == 0
        assert "Not stored in attic" in answer.stderr
        status = places.site.call("backup_status", "--json").json
        assert [(place["name"], place["healthy"]) for place in status["places"]][-1] == ("attic", True)

    def test_a_manifest_that_a_place_refuses_leaves_nothing_there(
        self, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = LocalStorage.write

        def refused(storage: LocalStorage, key: str, data: bytes) -> None:
            if storage.root == places.offsite:
                raise StorageError(f"{key} is refused.")
            write(storage, key, data)

        monkeypatch.setattr(LocalStorage, "write", refused)
        with pytest.raises(CopyFailed, match="is refused"):
            create_backup()
        assert places.files(places.offsite) == {}
        assert len(places.files(places.main)) == 2

    def test_an_archive_that_a_place_refuses_has_no_manifest_there(
        self, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Although the place takes that again."""
        write = PartialFile.write

        def full(part: PartialFile, block: bytes) -> int:
            if part.path.is_relative_to(places.offsite) and ".json." not in part.path.name:
                raise StorageError("There is no room.")
            return write(part, block)

        monkeypatch.setattr(PartialFile, "write", full)
        with pytest.raises(CopyFailed, match="There is no room"):
            create_backup()
        assert places.files(places.offsite) == {}
        assert len(places.files(places.main)) == 2

    def test_a_manifest_that_another_has_replaced_is_none_of_ours(
        self, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not every service refuses to overwrite."""
        write = LocalStorage.write

        def replaced(storage: LocalStorage, key: str, data: bytes) -> None:
            other = data.replace(b'"note": ""', b'"note": "another"') if storage.root == places.offsite else data
            write(storage, key, other)

        monkeypatch.setattr(LocalStorage, "write", replaced)
        with pytest.raises(CopyFailed, match=r"offsite.*already"):
            create_backup()

    def test_where_it_is_missing_nothing_is_pruned(self, places: Places) -> None:
        """And so no prune fails there."""
        failures: list[Any] = []

        def note(**facts: Any) -> None:
            failures.append(facts["message"])

        prune_failed.connect(note)
        places.take_away(places.offsite)
        with pytest.raises(CopyFailed):
            create_backup()
        prune_failed.disconnect(note)
        assert failures == []

    def test_a_backup_before_a_restore_is_good_enough(self, places: Places) -> None:
        """On the worst day a place that is away does not keep data from being restored."""
        manifest = create_backup()
        places.take_away(places.offsite)
        before = back_up_first(current_project(), "default", manifest, SILENT)
        assert before.trigger == "before-restore"

    def test_a_restore_says_where_a_newer_backup_may_be(self, places: Places) -> None:
        older = create_backup()
        others = (places.offsite, places.attic)
        for folder in others:
            places.take_away(folder)
        with pytest.raises(CopyFailed):
            create_backup()
        for folder in others:
            places.bring_back(folder)
        places.take_away(places.main)
        report = restore_backup()
        assert (report.restored, report.places_away) == (older.name, ("main",))

    def test_a_tick_says_so(self, places: Places, time: Clock) -> None:
        begun: list[Any] = []

        def note(source: Any, **facts: Any) -> None:
            begun.append(source)

        schedule_succeeded.connect(note)
        places.configure(schedule={"interval_hours": 1})
        places.take_away(places.offsite)
        answer = places.site.call("backup_tick", "--json")
        schedule_succeeded.disconnect(note)
        assert begun == [current_project().source("default"), None]  # the run has begun, and the tick did its work
        assert answer.code == 3
        made, failure = answer.json["results"]
        assert made["trigger"] == "scheduled"
        assert "not in all places" in failure["error"]
        places.bring_back(places.offsite)
        assert places.site.call("backup_tick").code == 0

    def test_all_that_fail_fail_the_backup(self, places: Places) -> None:
        for folder in (places.main, places.offsite, places.attic):
            places.take_away(folder)
        with pytest.raises(StorageError, match=str(places.main)):
            create_backup()

    def test_a_run_is_partly_failed(self, places: Places) -> None:
        places.take_away(places.offsite)
        answer = places.site.call("backup_create", "--json")
        assert answer.code == 3
        made, failure = answer.json
        assert made["name"]
        assert "offsite" in failure["error"]
        status = places.site.call("backup_status", "--json")
        assert (status.code, status.json["healthy"]) == (4, False)
        row = places.site.sql("SELECT state, message FROM django_cfg_backup_run")[0]
        assert row[0] == "succeeded"
        assert row[1].startswith("Not stored in offsite")

    def test_a_place_that_may_only_be_written_to(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is stored there could not be found again: it counts as one that is away."""
        for name in ("is_taken", "list", "open", "stat"):
            original = getattr(LocalStorage, name)

            def refused(storage: LocalStorage, *arguments: Any, original: Any = original, **options: Any) -> Any:
                if storage.root == places.offsite:
                    raise StorageError(f"{storage.root} may not be read.")
                return original(storage, *arguments, **options)

            monkeypatch.setattr(LocalStorage, name, refused)
        with pytest.raises(CopyFailed, match="may not be read"):
            create_backup()
        assert places.files(places.main) == places.files(places.attic)
        assert places.files(places.offsite) == {}
        assert "offsite: it cannot be read" in places.site.call("backup_status").stderr

    def test_a_name_that_is_taken_in_one_place_is_used_in_none(self, places: Places) -> None:
        first = create_backup()
        shutil.rmtree(places.main)
        second = create_backup()
        assert first.name != second.name

    @pytest.mark.parametrize("compression", ["none", "xz"])
    def test_an_interruption_leaves_nothing(
        self, places: Places, monkeypatch: pytest.MonkeyPatch, compression: str
    ) -> None:
        places.configure(compression=compression)
        monkeypatch.setattr("django_cfg.backup.services.creation.store.pack", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            create_backup()
        for folder in (places.main, places.offsite, places.attic):
            assert places.files(folder) == {}


def _interrupted(stream: Any, sink: Any, *others: Any) -> Any:
    sink.write(b"x" * 100_000)
    raise KeyboardInterrupt


class TestMadeUp:
    def test_the_next_tick_copies_byte_for_byte(self, places: Places) -> None:
        places.configure(schedule={"interval_hours": 168})
        places.take_away(places.offsite)
        with pytest.raises(CopyFailed):
            create_backup()
        assert copy_missing(current_project()) == []  # where it is away, nothing can be looked at
        places.bring_back(places.offsite)
        answer = places.site.call("backup_tick")
        assert (answer.code, "copied from main to offsite" in answer.stdout) == (0, True)
        assert places.files(places.offsite) == places.files(places.main)
        assert places.site.call("backup_tick").stdout == ""

    def test_main_is_made_up_for_from_a_copy(self, places: Places) -> None:
        places.take_away(places.main)
        with pytest.raises(CopyFailed):
            create_backup()
        places.bring_back(places.main)
        (outcome,) = copy_missing(current_project())
        assert (outcome.source, outcome.place) == ("offsite", "main")
        assert places.files(places.main) == places.files(places.offsite)

    def test_a_new_place_gets_what_its_retention_keeps(self, places: Places, time: Clock) -> None:
        places.site.configure(storage=local(places.main))
        manifests = create_daily(time, 3)
        places.configure(offsite={"retention": ONE_DAY})
        copy_missing(current_project())
        assert set(places.files(places.offsite)) == {manifests[-1].key, manifests[-1].archive_key}

    def test_proofs_and_the_pin_are_copied(self, places: Places) -> None:
        places.site.configure(storage=local(places.main))
        manifest = create_backup()
        drill_backup(manifest.name)
        places.site.call("backup_pin", manifest.name)
        places.configure()
        copy_missing(current_project())
        assert places.files(places.offsite) == places.files(places.main)
        assert len(places.files(places.main)) == 4

    def test_a_source_that_is_damaged_is_left_out(self, places: Places) -> None:
        manifest = create_backup()
        shutil.rmtree(places.attic)
        flip(places.main, manifest)
        (outcome,) = copy_missing(current_project())
        assert (outcome.source, outcome.place) == ("offsite", "attic")
        assert places.files(places.attic) == places.files(places.offsite)

    def test_nothing_is_copied_when_all_are_damaged(self, places: Places) -> None:
        manifest = create_backup()
        shutil.rmtree(places.attic)
        flip(places.main, manifest)
        flip(places.offsite, manifest)
        (outcome,) = copy_missing(current_project())
        assert isinstance(outcome.error, VerificationFailed)
        assert places.files(places.attic) == {}

    def test_another_object_under_the_name_is_not_overwritten(self, places: Places) -> None:
        manifest = create_backup()
        (places.offsite / manifest.key).unlink()
        (places.offsite / manifest.archive_key).write_bytes(b"another")
        (outcome,) = copy_missing(current_project())
        assert isinstance(outcome.error, NameTaken)
        assert places.files(places.offsite) == {manifest.archive_key: b"another"}

    def test_what_an_interrupted_copy_has_left_is_used(self, places: Places) -> None:
        manifest = create_backup()
        (places.offsite / manifest.key).unlink()
        (outcome,) = copy_missing(current_project())
        assert outcome.error is None
        assert places.files(places.offsite) == places.files(places.main)

    def test_what_was_deleted_by_hand_does_not_come_back(self, places: Places) -> None:
        create_backup()
        manifest = create_backup()
        places.take_away(places.offsite)
        answer = places.site.call("backup_delete", manifest.name, "--yes", "--force")
        assert (answer.code, "would come back" in answer.stderr) == (1, True)
        assert len(places.files(places.main)) == 4
        places.bring_back(places.offsite)
        assert places.site.call("backup_delete", manifest.name, "--yes", "--force").code == 0
        for folder in (places.main, places.offsite, places.attic):
            assert len(places.files(folder)) == 2
        assert copy_missing(current_project()) == []

    @pytest.mark.parametrize("of_another", [False, True])
    def test_nothing_is_deleted_while_copies_are_made(
        self, places: Places, monkeypatch: pytest.MonkeyPatch, of_another: bool
    ) -> None:
        """A copy under way would bring it back, and the next tick would spread it."""
        older, newer = create_backup(), create_backup()
        (places.offsite / older.key).unlink()
        answers = []

        def delete_and_write(*arguments: Any) -> None:
            name = (newer if of_another else older).name
            answers.append(places.site.call("backup_delete", name, "--yes", "--force"))
            write_manifest(*arguments)

        monkeypatch.setattr(copy, "write_manifest", delete_and_write)
        copy_missing(current_project())
        (answer,) = answers
        assert (answer.code, "A copy to offsite of tests/test/default is being made" in answer.stderr) == (1, True)
        assert places.files(places.offsite) == places.files(places.main)
        assert len(places.files(places.main)) == 4
        assert places.site.call("backup_delete", older.name, "--yes", "--force").code == 0
        assert len(places.files(places.offsite)) == 2

    def test_a_proof_that_a_place_has_missed(self, places: Places) -> None:
        manifest = create_backup()
        places.take_away(places.offsite)
        drill_backup(manifest.name)
        places.bring_back(places.offsite)
        assert places.files(places.offsite) != places.files(places.main)
        places.configure(schedule={"interval_hours": 168})
        assert places.site.call("backup_tick").code == 0
        assert places.files(places.offsite) == places.files(places.main)

    def test_another_process_that_copies_the_same(self, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has found our archive, and writes the manifest before us: the archive stays."""
        manifest = create_backup()
        shutil.rmtree(places.attic)
        write = LocalStorage.write

        def overtaken(storage: LocalStorage, key: str, data: bytes) -> None:
            if key == manifest.key:
                write(storage, key, data)
            write(storage, key, data)

        monkeypatch.setattr(LocalStorage, "write", overtaken)
        (outcome,) = copy_missing(current_project())
        assert outcome.error is None
        assert places.files(places.attic) == places.files(places.main)

    def test_a_manifest_that_was_written_although_the_write_failed(
        self, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The answer got lost: the archive that it names stays."""
        manifest = create_backup()
        for folder in (places.offsite, places.attic):
            shutil.rmtree(folder)
        write = LocalStorage.write

        def unanswered(storage: LocalStorage, key: str, data: bytes) -> None:
            write(storage, key, data)
            raise StorageError("There was no answer.")

        monkeypatch.setattr(LocalStorage, "write", unanswered)
        assert all(isinstance(outcome.error, StorageError) for outcome in copy_missing(current_project()))
        assert set(places.states(manifest.name).values()) == {"intact"}

    def test_a_copy_that_fails_in_the_last_moment_leaves_nothing(
        self, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manifest = create_backup()
        shutil.rmtree(places.attic)

        def refuse(storage: LocalStorage, key: str, data: bytes) -> None:
            raise StorageError(f"{key} is refused.")

        monkeypatch.setattr(LocalStorage, "write", refuse)
        (outcome,) = copy_missing(current_project())
        assert isinstance(outcome.error, StorageError)
        assert places.files(places.attic) == {}
        assert places.states(manifest.name)["attic"] == "missing"

    def test_what_is_not_signed_is_not_copied(self, places: Places) -> None:
        """Someone who can write to main puts a backup of their own there."""
        places.configure(signing_key="a long secret that signs")
        create_backup()
        places.site.configure(storage=local(places.main))
        forged = create_backup()
        places.configure(signing_key="a long secret that signs")
        assert copy_missing(current_project()) == []
        assert places.states(forged.name) == {"main": "intact", "offsite": "missing", "attic": "missing"}

    def test_a_signature_that_was_changed_in_one_place(self, places: Places) -> None:
        places.configure(signing_key="a long secret that signs")
        manifest = create_backup()
        path = places.main / manifest.key
        document = json.loads(path.read_bytes())
        path.write_text(json.dumps(document | {"signature": "0" * 64}))
        assert places.states(manifest.name) == {"main": "damaged", "offsite": "intact", "attic": "intact"}
        restore_backup(manifest.name)


class TestInDoubt:
    def test_another_process_that_copies_there(
        self, places: Places, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It goes on; the other places get theirs."""
        monkeypatch.setattr("django_cfg.backup.services.runs.file_lock._PATIENCE", 0.01)
        caplog.set_level("INFO")
        manifest = create_backup()
        shutil.rmtree(places.offsite)
        shutil.rmtree(places.attic)
        project = current_project()
        with source_lock(project, manifest.source, "copy to offsite"):
            (outcome,) = copy_missing(project)
        assert (outcome.place, outcome.error) == ("attic", None)
        assert places.files(places.offsite) == {}
        assert "copy to offsite" in caplog.text

    def test_a_manifest_that_was_changed_after_it_was_listed(self, places: Places) -> None:
        manifest = create_backup()
        shutil.rmtree(places.attic)
        project = current_project()
        catalog = read_places(project)
        for folder in (places.main, places.offsite):
            changed = manifest.model_copy(update={"note": "another"})
            (folder / manifest.key).write_bytes(changed.to_json())
        (outcome,) = copy_missing(project, catalog=catalog)
        assert "has changed since it was listed" in str(outcome.error)
        assert places.files(places.attic) == {}

    def test_another_object_of_the_same_size_is_not_overwritten(self, places: Places) -> None:
        manifest = create_backup()
        (places.attic / manifest.key).unlink()
        flip(places.attic, manifest)
        before = places.files(places.attic)
        (outcome,) = copy_missing(current_project())
        assert isinstance(outcome.error, NameTaken)
        assert places.files(places.attic) == before

    def test_a_backup_of_the_future(self, places: Places, time: Clock, caplog: pytest.LogCaptureFixture) -> None:
        """Retention decides nothing then, so what is missing is not known."""
        manifest = create_backup()
        shutil.rmtree(places.attic)
        time.advance(days=-400)
        assert copy_missing(current_project()) == []
        assert f"{manifest.name} of tests/test/default is dated 2026-06-01" in caplog.text
        assert places.files(places.attic) == {}

    def test_a_proof_that_main_has_missed(self, places: Places) -> None:
        manifest = create_backup()
        places.take_away(places.main)
        drill_backup(manifest.name)
        places.bring_back(places.main)
        copy_missing(current_project())
        assert places.files(places.main) == places.files(places.offsite)
        assert len(places.files(places.main)) == 3

    def test_a_proof_that_is_gone_again(self, places: Places) -> None:
        manifest = create_backup()
        places.take_away(places.main)
        drill_backup(manifest.name)
        places.bring_back(places.main)
        project = current_project()
        catalog = read_places(project)
        for folder in (places.offsite, places.attic):
            for path in folder.glob("*.proof.json"):
                path.unlink()
        assert copy_missing(project, catalog=catalog) == []
        assert len(places.files(places.main)) == 2

    def test_a_pin_that_the_source_has_not(self, places: Places) -> None:
        manifest = create_backup()
        places.take_away(places.main)
        places.take_away(places.attic)
        places.site.call("backup_pin", manifest.name)
        places.bring_back(places.main)
        places.bring_back(places.attic)
        shutil.rmtree(places.attic)
        (outcome,) = copy_missing(current_project())
        assert (outcome.source, outcome.place) == ("main", "attic")
        assert set(places.files(places.attic)) == {manifest.key, manifest.archive_key}
        assert read_places(current_project()).pinned == {manifest.name}


class TestReading:
    def test_the_list_shows_where_each_is(self, places: Places) -> None:
        manifest = create_backup()
        cut(places.main, manifest)
        (places.attic / manifest.key).unlink()
        answer = places.site.call("backup_list", "--json")
        assert answer.json[0]["places"] == [
            {"name": "main", "state": "damaged"},
            {"name": "offsite", "state": "intact"},
            {"name": "attic", "state": "missing"},
        ]
        assert "Not a usable copy in main" in answer.stderr
        assert "main (damaged), offsite, attic (missing)" in places.site.call("backup_list").stdout
        assert places.site.call("backup_status").code == 4

    @pytest.mark.parametrize("damage", [cut, flip])
    def test_a_restore_takes_the_first_good_one(self, places: Places, damage: Any) -> None:
        before = places.site.content()
        manifest = create_backup()
        damage(places.main, manifest)
        damage(places.offsite, manifest)
        places.site.sql("DELETE FROM book")
        answer = places.site.call("backup_restore", manifest.name, "--yes")
        assert answer.code == 0
        assert ("is not used" in answer.stderr) is (damage is flip)
        places.site.close()
        assert places.site.content() == before

    def test_a_place_that_was_named_is_the_only_one(self, places: Places) -> None:
        manifest = create_backup()
        flip(places.offsite, manifest)
        verify_backup(manifest.name)
        with pytest.raises(VerificationFailed, match="SHA-256 differs"):
            verify_backup(manifest.name, from_place="offsite")
        said = (
            rf"{manifest.name} in offsite \(.*cut short or damaged. The database 'default' is as it was. `backup_list`"
        )
        with pytest.raises(VerificationFailed, match=said):
            restore_backup(manifest.name, from_place="offsite")
        restore_backup(manifest.name, from_place="attic")

    @pytest.mark.parametrize(("verify", "option"), [(verify_backup, ()), (drill_backup, ("--drill",))])
    def test_a_verification_says_which_copy_is_damaged(
        self, places: Places, verify: Any, option: tuple[str, ...]
    ) -> None:
        """Else a backup that is intact elsewhere would be given up."""
        manifest = create_backup()
        flip(places.main, manifest)
        way_out = f"`backup_copy {manifest.name} --to main --replace-damaged`"
        sent: list[str] = []

        def note(message: str, **facts: Any) -> None:
            sent.append(message)

        verification_failed.connect(note)
        with pytest.raises(VerificationFailed, match=rf"That is the copy in main \({places.main}\)") as failure:
            verify(manifest.name)
        verification_failed.disconnect(note)
        answer = places.site.call("backup_verify", manifest.name, *option)
        assert (answer.code, way_out in answer.stderr) == (1, True)
        assert sent == [str(failure.value)], "it is notified in the same words, of a scheduled one too"
        assert way_out in sent[0]
        assert places.site.call("backup_copy", manifest.name, "--to", "main", "--replace-damaged").code == 0
        verify(manifest.name, from_place="main")

    def test_an_unknown_place(self, places: Places) -> None:
        manifest = create_backup()
        for command in ("backup_verify", "backup_restore", "backup_download", "backup_verify"):
            answer = places.site.call(command, manifest.name, "--from", "nowhere")
            assert (answer.code, "main, offsite, attic" in answer.stderr) == (2, True)

    def test_main_away(self, places: Places) -> None:
        """Listing, status and restores read the others, and say so."""
        before = places.site.content()
        manifest = create_backup()
        places.take_away(places.main)
        listed = places.site.call("backup_list", "--json")
        assert [found["name"] for found in listed.json] == [manifest.name]
        assert "The place main cannot be read" in listed.stderr
        status = places.site.call("backup_status")
        assert (status.code, "main: it cannot be read" in status.stderr) == (4, True)
        places.site.sql("DELETE FROM book")
        restore_backup(manifest.name)
        places.site.close()
        assert places.site.content() == before

    def test_a_download_takes_the_first_good_one(self, places: Places) -> None:
        manifest = create_backup()
        flip(places.main, manifest)
        answer = places.site.call("backup_download", manifest.name, "--to", str(places.site.root / "out"))
        assert answer.code == 0
        assert places.files(places.site.root / "out") == places.files(places.offsite)

    def test_another_backup_under_the_name(self, places: Places) -> None:
        manifest = create_backup()
        changed = manifest.model_copy(update={"note": "changed"})
        (places.offsite / manifest.key).write_bytes(changed.to_json())
        assert places.states(manifest.name) == {"main": "intact", "offsite": "damaged", "attic": "intact"}
        assert "differs from the one in main" in places.site.call("backup_list").stderr


class TestProofs:
    def test_a_drill_is_kept_in_every_place(self, places: Places) -> None:
        manifest = create_backup()
        proof = drill_backup(manifest.name, from_place="offsite")
        assert proof.place == "offsite"
        assert places.files(places.main) == places.files(places.offsite) == places.files(places.attic)
        assert len(places.files(places.main)) == 3

    def test_scheduled_drills_take_the_places_in_turn(self, places: Places, time: Clock) -> None:
        places.configure(schedule={"enabled": False}, verification={"enabled": True, "schedule": {"interval_hours": 1}})
        create_backup()
        proved = []
        for _ in range(4):
            time.advance(hours=1, minutes=1)
            (result,) = tick().verified
            assert isinstance(result, VerificationResult)
            assert result.proof
            proved.append(result.proof.place)
        assert proved == ["main", "offsite", "attic", "main"]


class TestRetention:
    def test_each_place_has_its_own(self, places: Places, time: Clock) -> None:
        places.configure(retention=ONE_DAY, offsite={"retention": ONE_DAY | {"keep_daily": 2}})
        create_daily(time, 3)
        assert [len(places.files(folder)) for folder in (places.main, places.offsite, places.attic)] == [2, 4, 6]
        assert copy_missing(current_project()) == []

    def test_the_newest_proved_is_kept_in_all(self, places: Places, time: Clock) -> None:
        places.configure(retention=ONE_DAY, offsite={"retention": ONE_DAY})
        (first,) = create_daily(time, 1)
        drill_backup(first.name, from_place="offsite")
        second = create_daily(time, 2)[-1]
        for folder in (places.main, places.offsite):
            names = {
                key.removesuffix(".json") for key in places.files(folder) if not key.endswith(("gz", "proof.json"))
            }
            assert names == {first.name, second.name}

    def test_a_prune_by_hand_is_of_all_places(self, places: Places, time: Clock) -> None:
        create_daily(time, 3)
        places.configure(retention=ONE_DAY, offsite={"retention": ONE_DAY}, attic={"retention": ONE_DAY})
        report = places.site.call("backup_prune", "--yes", "--json").json
        assert len(report["deleted"]) == 2
        assert {copy["place"]: len(copy["deleted"]) for copy in report["copies"]} == {"offsite": 2, "attic": 2}


class TestCommand:
    def test_one_backup_to_one_place(self, places: Places) -> None:
        manifest = create_backup()
        shutil.rmtree(places.offsite)
        shutil.rmtree(places.attic)
        answer = places.site.call("backup_copy", manifest.name, "--to", "attic")
        assert answer.stdout == f"{manifest.name}: copied from main to attic\n"
        assert places.files(places.offsite) == {}

    def test_a_damaged_copy_is_replaced_only_when_asked_for(self, places: Places) -> None:
        manifest = create_backup()
        cut(places.offsite, manifest)
        for arguments in ((), ("--to", "offsite")):
            refused = places.site.call("backup_copy", manifest.name, *arguments)
            assert (refused.code, "--to offsite --replace-damaged" in refused.stderr) == (1, True), refused.stdout
        answer = places.site.call("backup_copy", manifest.name, "--to", "offsite", "--replace-damaged")
        assert answer.code == 0
        assert places.files(places.offsite) == places.files(places.main)

    def test_a_pin_that_only_the_damaged_copy_has_stays(self, places: Places) -> None:
        manifest = create_backup()
        places.take_away(places.main)
        places.take_away(places.attic)
        places.site.call("backup_pin", manifest.name)
        assert read_places(current_project(), "offsite").pinned == {manifest.name}
        places.bring_back(places.main)
        places.bring_back(places.attic)
        cut(places.offsite, manifest)
        assert places.site.call("backup_copy", manifest.name, "--to", "offsite", "--replace-damaged").code == 0
        assert read_places(current_project()).pinned == {manifest.name}

    def test_damage_that_only_reading_shows_is_replaced(self, places: Places) -> None:
        """And a copy that is good stays as it is."""
        manifest = create_backup()
        flip(places.offsite, manifest)
        good = (places.attic / manifest.archive_key).stat().st_ino
        answer = places.site.call("backup_copy", manifest.name, "--replace-damaged")
        assert (answer.code, answer.stdout) == (0, f"{manifest.name}: copied from main to offsite\n"), answer.stderr
        assert places.files(places.offsite) == places.files(places.main)
        assert (places.attic / manifest.archive_key).stat().st_ino == good

    def test_damage_that_only_reading_shows_stays_when_there_is_no_good_one(self, places: Places) -> None:
        manifest = create_backup()
        for folder in (places.main, places.offsite, places.attic):
            flip(folder, manifest)
        before = places.files(places.main)
        answer = places.site.call("backup_copy", manifest.name, "--to", "main", "--replace-damaged")
        assert (answer.code, places.files(places.main)) == (1, before)

    def test_a_damaged_copy_stays_when_there_is_no_good_one(self, places: Places) -> None:
        manifest = create_backup()
        cut(places.offsite, manifest)
        flip(places.main, manifest)
        flip(places.attic, manifest)
        before = places.files(places.offsite)
        answer = places.site.call("backup_copy", manifest.name, "--to", "offsite", "--replace-damaged")
        assert answer.code == 1
        assert places.files(places.offsite) == before

    def test_all_that_are_missing(self, places: Places) -> None:
        older, newer = create_backup(), create_backup()
        shutil.rmtree(places.attic)
        answer = places.site.call("backup_copy", "--missing")
        assert answer.stdout.splitlines() == [f"{each.name}: copied from main to attic" for each in (newer, older)]
        assert places.files(places.attic) == places.files(places.main)

    @pytest.mark.parametrize("more", [["default_1"], ["--database", "default"], ["--to", "attic"]])
    def test_all_that_are_missing_are_not_chosen(self, places: Places, more: list[str]) -> None:
        create_backup()
        shutil.rmtree(places.attic)
        answer = places.site.call("backup_copy", "--missing", *more)
        assert (answer.code, "give neither NAME, --database nor --to" in answer.stderr) == (2, True)
        assert places.files(places.attic) == {}

    def test_one_that_is_everywhere(self, places: Places) -> None:
        manifest = create_backup()
        assert places.site.call("backup_copy").stdout == f"{manifest.name} is in main, offsite, attic already.\n"

    def test_several_that_fail(self, places: Places) -> None:
        """The document says which."""
        manifest = create_backup()
        for folder in (places.offsite, places.attic):
            (folder / manifest.key).unlink()
            (folder / manifest.archive_key).write_bytes(b"another")
        answer = places.site.call("backup_copy", "--json")
        assert "2 of 2 copies were not made:" in answer.stderr
        assert [(each["place"], "exists already" in each["error"]) for each in answer.json] == [
            ("offsite", True),
            ("attic", True),
        ]
        (places.attic / manifest.archive_key).unlink()
        answer = places.site.call("backup_copy")
        assert answer.code == 3
        assert "1 of 2 copies were not made:" in answer.stderr
        assert answer.stdout == f"{manifest.name}: copied from main to attic\n"

    def test_damage_that_only_reading_shows_of_the_only_copy(self, places: Places) -> None:
        manifest = create_backup()
        flip(places.main, manifest)
        for folder in (places.offsite, places.attic):
            shutil.rmtree(folder)
        before = places.files(places.main)
        answer = places.site.call("backup_copy", "--to", "main", "--replace-damaged")
        assert answer.code == 1
        assert f"{manifest.name} is damaged in main" in answer.stderr
        assert "no other place has it: it stays as it is." in answer.stderr
        assert places.files(places.main) == before

    def test_one_place(self, site: Site) -> None:
        answer = site.call("backup_copy", "latest")
        assert (answer.code, "BackupConfig.copies" in answer.stderr) == (2, True)


class TestSamePlace:
    @pytest.mark.parametrize("spelling", ["backups", "./backups/", "{root}/backups", "{root}/link", "backups/below"])
    def test_another_spelling_is_refused(self, site: Site, spelling: str) -> None:
        (site.root / "backups").mkdir()
        (site.root / "link").symlink_to(site.root / "backups")
        storage = local(spelling.format(root=site.root))
        site.configure(storage=local("backups/"), copies=[{"name": "offsite", "storage": storage}])
        with pytest.raises(ConfigurationError, match="the same place"):
            create_backup()
        answer = site.call("backup_check")
        assert (answer.code, "the same place" in answer.stderr) == (2, True)

    def test_one_that_only_shows_when_it_is_written_is_found_by_the_check(self, places: Places) -> None:
        """Two mounts of one folder."""
        needs.root()
        places.main.mkdir()
        places.offsite.mkdir()
        subprocess.run(["mount", "--bind", places.main, places.offsite], check=True)
        try:
            answer = places.site.call("backup_check")
        finally:
            subprocess.run(["umount", "--lazy", places.offsite], check=True)
        assert (answer.code, "the same place under two names" in answer.stdout) == (1, True)


def test_no_message_shows_a_secret_of_a_copy(site: Site) -> None:
    bucket = {"backend": "s3", "s3_bucket": "b", "s3_access_key": "AKIDOFACOPY0", "s3_secret_key": "s3cret-of-a-copy"}
    site.configure(copies=[{"name": "offsite", "storage": bucket}])
    assert {"AKIDOFACOPY0", "s3cret-of-a-copy"} <= secrets_of(current_project())
