"""backup_delete and backup_download"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.manifests import make_manifest, publish


@pytest.fixture
def backup(site: Site, books: Path) -> Manifest:
    return site.create()


class TestDelete:
    def test_the_backup_is_deleted(self, site: Site, backup: Manifest) -> None:
        """Other backups stay."""
        other = site.create()
        answer = site.call("backup_delete", backup.name, "--yes")
        assert (answer.code, answer.stdout) == (0, f"{backup.name} is deleted.\n")
        assert site.stored() == [other.key, other.archive_key]

    def test_json_names_the_deleted_backup(self, site: Site, backup: Manifest) -> None:
        assert site.call("backup_delete", "latest", "--yes", "--force", "--json").json == {"deleted": backup.name}

    def test_without_a_terminal_and_without_yes_nothing_is_done(self, site: Site, backup: Manifest) -> None:
        site.create()
        stored = site.stored()
        answer = site.call("backup_delete", backup.name)
        assert answer.code == 1
        assert f"Delete the backup {backup.name} of tests/test/default (" in answer.stderr
        assert f"in {site.backups} for good?" in answer.stderr
        assert "Nothing was done" in answer.stderr
        assert site.stored() == stored

    def test_an_empty_name_is_refused(self, site: Site, backup: Manifest) -> None:
        """``backup_delete "$NAME" --yes`` with an unset variable must not delete the only backup."""
        assert site.call("backup_delete", "", "--yes").code == 2
        assert site.stored() == [backup.key, backup.archive_key]

    @pytest.mark.parametrize("damage", ["archive missing", "archive cut", "manifest cut"])
    def test_a_damaged_backup_is_deleted_by_its_full_name(self, site: Site, backup: Manifest, damage: str) -> None:
        """As the error message of such a backup says."""
        if damage == "archive missing":
            (site.backups / backup.archive_key).unlink()
        if damage == "archive cut":
            (site.backups / backup.archive_key).write_bytes(b"cut")
        if damage == "manifest cut":
            (site.backups / backup.key).write_text("{")
        assert site.call("backup_delete", backup.name[:-1], "--yes").code == 1
        answer = site.call("backup_delete", backup.name, "--yes")
        assert answer.code == 0
        left = site.stored()
        assert left == ([backup.archive_key] if damage == "manifest cut" else [])  # it is unknown whose archive it is


class TestProtection:
    """backup_delete refuses backups that retention or a person relies on."""

    def refused(self, site: Site, backup: Manifest) -> str:
        stored = site.stored()
        answer = site.call("backup_delete", backup.name, "--yes")
        assert (answer.code, site.stored()) == (2, stored)
        assert "`backup_delete --force` deletes it in any case" in answer.stderr
        return answer.stderr

    def test_the_newest_backup_is_protected(self, site: Site, backup: Manifest) -> None:
        assert f"{backup.name} is not deleted: it is the newest backup of tests/test/default" in self.refused(
            site, backup
        )
        site.create()
        assert site.call("backup_delete", backup.name, "--yes").code == 0

    def test_the_newest_proved_backup_is_protected(self, site: Site, backup: Manifest) -> None:
        assert site.call("backup_verify", backup.name, "--drill").code == 0
        site.create()
        assert "it is the newest proved backup of tests/test/default" in self.refused(site, backup)
        newer = site.create()
        assert site.call("backup_verify", newer.name, "--drill").code == 0
        assert site.call("backup_delete", backup.name, "--yes").code == 0

    def test_a_pinned_backup_is_protected(self, site: Site, backup: Manifest) -> None:
        site.create()
        site.call("backup_pin", backup.name)
        assert f"it is pinned. `backup_pin {backup.name} --unpin` takes the pin away" in self.refused(site, backup)
        assert site.call("backup_delete", backup.name, "--yes", "--force").code == 0
        assert not [name for name in site.stored() if name.startswith(f"{backup.name}.")]

    def test_a_newer_backup_of_another_kind_does_not_count(self, site: Site, backup: Manifest) -> None:
        """Neither a partial one nor one made before a restore."""
        site.create(trigger="before-restore")
        site.configure(databases=[{"alias": "default", "include_tables": ["book", "author"]}])
        site.create()
        assert "it is the newest backup not made before a restore" in self.refused(site, backup)

    def test_a_backup_from_the_future_is_not_protected(self, site: Site, backup: Manifest) -> None:
        """It stops every prune, and is no reason to keep itself."""
        future = make_manifest("default_future", started_at=datetime.now(UTC) + timedelta(days=1))
        publish(current_project().storage, future)
        assert "the newest backup" in self.refused(site, backup)
        assert site.call("backup_delete", future.name, "--yes").code == 0


class TestDownload:
    def test_the_path_of_the_file_is_printed(self, site: Site, backup: Manifest) -> None:
        """Alone on stdout, for scripts."""
        out = site.root / "out"
        answer = site.call("backup_download", "latest", "--to", str(out))
        assert (answer.code, answer.stdout) == (0, f"{out / backup.archive_key}\n")
        assert sorted(path.name for path in out.iterdir()) == [backup.key, backup.archive_key]

    def test_json_names_backup_and_file(self, site: Site, backup: Manifest) -> None:
        out = site.root / "out"
        answer = site.call("backup_download", "latest", "--to", str(out), "--plain", "--json")
        assert answer.json == {"name": backup.name, "file": str(out / f"{backup.name}.sqlite3")}
        content = Path(answer.json["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == backup.archive.raw_sha256

    def test_an_existing_file_is_not_overwritten(self, site: Site, backup: Manifest) -> None:
        out = site.root / "out"
        site.call("backup_download", "latest", "--to", str(out))
        answer = site.call("backup_download", "latest", "--to", str(out), "--json")
        assert answer.code == 1
        assert "nothing is ever overwritten" in answer.json["error"]

    def test_the_default_folder_is_the_working_directory(
        self, site: Site, backup: Manifest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = site.root / "here"
        here.mkdir()
        monkeypatch.chdir(here)
        site.call("backup_download", "latest")
        assert (here / backup.archive_key).is_file()


def test_another_projects_backup_is_deleted_by_its_full_name_only(site: Site) -> None:
    name = site.create().name
    site.configure(project="other")
    refused = site.call("backup_delete", name[:-2], "--yes")
    assert refused.code == 2
    assert "tests/test/default" in refused.stderr
    assert f"{name}.json" in site.stored()
    assert site.call("backup_delete", name, "--yes", "--force").code == 0
