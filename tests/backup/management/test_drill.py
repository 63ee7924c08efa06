"""backup_verify --drill, and the commands that show its proof."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.errors import BackupError, BackupNotFound, NameTaken
from django_cfg.backup.manifest import Manifest, Proof
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.verification.proofs import write_proof
from django_cfg.backup.storage.local import LocalStorage
from tests.support.django_project import Site
from tests.support.manifests import STARTED, make_manifest, publish


@pytest.fixture
def backup(site: Site, books: Path) -> Manifest:
    site.configure(schedule={"enabled": False})
    return site.create()


def proofs() -> dict[str, Proof]:
    return dict(read_catalog(current_project().storage).proofs)


def change_row_count(site: Site, manifest: Manifest) -> None:
    changed = manifest.model_dump_json(by_alias=True).replace('"name":"book","rows":200', '"name":"book","rows":201')
    (site.backups / manifest.key).write_text(changed)


class TestCommand:
    def test_a_good_backup_is_proved(self, site: Site, backup: Manifest) -> None:
        answer = site.call("backup_verify", "latest", "--drill")
        assert answer.code == 0
        assert answer.stdout.startswith(f"{backup.name}: proved. Restored and compared: ")
        assert f"{len(backup.tables)} tables, {backup.rows} rows" in answer.stdout
        assert "Expected recovery time: " in answer.stdout
        assert proofs()[backup.name].proves(backup)

    def test_the_document_holds_the_proof(self, site: Site, backup: Manifest) -> None:
        answer = site.call("backup_verify", backup.name, "--drill", "--json")
        (result,) = answer.json
        assert (result["name"], result["error"]) == (backup.name, None)
        assert Proof.model_validate(result["proof"]) == proofs()[backup.name]

    def test_a_failed_drill_is_exit_code_1_and_ends_proved(self, site: Site, backup: Manifest) -> None:
        site.call("backup_verify", "latest", "--drill")
        change_row_count(site, backup)
        answer = site.call("backup_verify", "latest", "--drill", "--json")
        assert answer.code == 1
        assert "book has 200 rows instead of 201" in answer.stderr
        assert answer.json[0]["proof"]["succeeded"] is False
        assert not read_catalog(current_project().storage).is_proved(backup)

    def test_a_drill_needs_a_name(self, site: Site, backup: Manifest) -> None:
        """Without a name not every backup is restored."""
        answer = site.call("backup_verify", "--drill")
        assert answer.code == 2
        assert proofs() == {}

    def test_differences_in_migrations_are_printed(self, site: Site, books: Path) -> None:
        site.sql("DELETE FROM django_migrations WHERE app = 'sessions'")
        manifest = site.create()
        answer = site.call("backup_verify", "latest", "--drill")
        assert answer.code == 0
        assert "1 migration behind your code (sessions 1)" in answer.stderr
        assert "sessions 1" in proofs()[manifest.name].migrations


class TestShown:
    def test_list_show_and_status_show_the_proof(self, site: Site, backup: Manifest) -> None:
        for command in (["backup_list"], ["backup_status"]):
            assert "never" in site.call(*command).stdout
        assert "never; `backup_verify NAME --drill` proves it" in site.call("backup_show", "latest").stdout
        write_proof(current_project().storage, backup, proof_of(backup, duration=3725))
        for command in (["backup_list"], ["backup_status"]):
            assert "2026-06-01 14:00:00 CEST, 1 h 2 min" in site.call(*command).stdout
        shown = site.call("backup_show", "latest").stdout
        assert "on db2 (server 3.45.0, sqlite3 3.45.0). Restored and compared: 9 tables, 1,000 rows" in shown
        assert "Expected recovery time: 1 h 2 min." in shown

    def test_a_failed_drill_is_shown_by_list_and_show(self, site: Site, backup: Manifest) -> None:
        write_proof(current_project().storage, backup, proof_of(backup, succeeded=False, differences=("no book",)))
        assert "2026-06-01 14:00:00 CEST FAILED" in site.call("backup_list").stdout
        assert "THE DRILL FAILED" in site.call("backup_show", "latest").stdout
        answer = site.call("backup_status")
        assert answer.code == 4
        assert "no book" in answer.stderr


class TestAge:
    @pytest.mark.parametrize(("age", "code"), [(6, 0), (8, 4)])
    def test_an_old_proof_is_a_warning(self, site: Site, backup: Manifest, age: int, code: int) -> None:
        self.expect_proofs(site)
        at = datetime.now(UTC) - timedelta(days=age)
        write_proof(current_project().storage, backup, proof_of(backup, at=at))
        answer = site.call("backup_status")
        assert answer.code == code
        assert ("the last proof is 8 days old" in answer.stderr) == (code == 4)

    @pytest.mark.parametrize(("age", "code"), [(6, 0), (8, 4)])
    def test_a_first_proof_is_expected_within_the_same_time(self, site: Site, age: int, code: int) -> None:
        self.expect_proofs(site)
        old = make_manifest("old", started_at=datetime.now(UTC) - timedelta(days=age))
        publish(current_project().storage, old)
        assert site.call("backup_status").code == code

    def test_without_drills_no_proof_is_expected(self, site: Site) -> None:
        site.configure(schedule={"enabled": False}, verification={"enabled": True, "drill": False})
        publish(current_project().storage, make_manifest("old", started_at=STARTED - timedelta(days=400)))
        assert site.call("backup_status").code == 0

    def expect_proofs(self, site: Site) -> None:
        """Drills run on another machine: there is no schedule for them here."""
        elsewhere = {"enabled": True, "schedule": {"enabled": False}, "max_proof_age_days": 7}
        site.configure(schedule={"enabled": False}, verification=elsewhere)


class TestPublishing:
    def test_a_new_proof_replaces_the_old_one(self, site: Site, backup: Manifest) -> None:
        storage = current_project().storage
        for duration in (1.0, 2.0):
            write_proof(storage, backup, proof_of(backup, duration=duration))
        assert proofs()[backup.name].duration == 2

    def test_a_proof_of_a_backup_that_was_deleted_in_the_meantime_is_removed(
        self, site: Site, backup: Manifest
    ) -> None:
        (site.backups / backup.key).unlink()
        with pytest.raises(BackupNotFound, match="deleted while it was drilled"):
            write_proof(current_project().storage, backup, proof_of(backup))
        assert [name for name in site.stored() if name.endswith(".proof.json")] == []

    def test_the_old_proof_counts_until_the_new_one_is_written(self, site: Site, backup: Manifest) -> None:
        write_proof(current_project().storage, backup, proof_of(backup, duration=1))

        class Killed(LocalStorage):
            def write(self, key: str, data: bytes) -> None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_proof(Killed(site.backups), backup, proof_of(backup, duration=2))
        assert proofs()[backup.name].duration == 1

    def test_of_two_simultaneous_drills_the_last_written_proof_counts(self, site: Site, backup: Manifest) -> None:
        """The other proof appears under the same time just before ours is written."""
        other, mine = proof_of(backup, duration=1), proof_of(backup, duration=2)

        class Crowded(LocalStorage):
            times = 2

            def write(self, key: str, data: bytes) -> None:
                if self.times:
                    self.times -= 1
                    super().write(key, other.to_json())
                super().write(key, data)

        write_proof(Crowded(site.backups), backup, mine)
        assert proofs()[backup.name] == mine
        crowd = Crowded(site.backups)
        crowd.times = 100
        with pytest.raises(NameTaken):
            write_proof(crowd, backup, mine)


class TestWhere:
    def test_a_backup_of_another_project_needs_a_target(self, site: Site, backup: Manifest) -> None:
        site.configure(project="other", schedule={"enabled": False})
        answer = site.call("backup_verify", backup.name, "--drill")
        assert answer.code == 1
        assert "drill_alias" in answer.stderr
        site.configure(project="other", verification={"drill_alias": "default"})
        assert site.call("backup_verify", backup.name, "--drill").code == 0

    def test_an_unknown_drill_alias_is_a_warning(self, site: Site) -> None:
        for alias in ("nosuch", {"default": "nosuch", "logs": "default"}):
            site.configure(verification={"drill_alias": alias})
            assert "django_cfg_backup.W012" in site.call("check").stderr
        with pytest.raises(BackupError, match="nosuch"):
            current_project().engine("nosuch")


def proof_of(manifest: Manifest, **values: Any) -> Proof:
    facts: dict[str, Any] = {
        "name": manifest.name,
        "archive_sha256": manifest.archive.sha256,
        "at": datetime(2026, 6, 1, 12, tzinfo=UTC),
        "duration": 1.0,
        "succeeded": True,
        "tables": 9,
        "rows": 1000,
        "server_version": "3.45.0",
        "tool": "sqlite3",
        "tool_version": "3.45.0",
        "host": "db2",
    }
    return Proof(**facts | values)
