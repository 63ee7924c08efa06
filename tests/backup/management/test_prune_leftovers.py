"""backup_prune --leftovers: archives, proofs and pins without a manifest."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from django_cfg.backup.manifest import Source
from tests.support.django_project import Site
from tests.support.manifests import make_manifest
from tests.support.stored_history import Locking, daily, put, use_storage

NAME = "default_20250115_020000_test"


@pytest.fixture
def left(site: Site) -> Path:
    """The storage's folder, with an archive of ours that lost its manifest long ago."""
    site.backups.mkdir()
    leave(site, f"{NAME}.sqlite3.gz")
    return site.backups


def leave(site: Site, key: str, hours: float = 25) -> None:
    path = site.backups / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 30)
    when = time.time() - hours * 3600
    os.utime(path, (when, when))


@pytest.mark.usefixtures("left")
class TestRemoved:
    def test_leftovers_are_listed_and_stay_until_confirmed(self, site: Site) -> None:
        answer = site.call("backup_prune", "--leftovers")
        assert answer.code == 0
        _, row = answer.stdout.splitlines()
        assert row.split()[:2] == ["DELETE", f"{NAME}.sqlite3.gz"]
        assert row.endswith("30 bytes  no manifest")
        assert site.stored() == [f"{NAME}.sqlite3.gz"]

    def test_a_prune_of_backups_keeps_leftovers(self, site: Site) -> None:
        assert site.call("backup_prune", "--yes").code == 0
        assert site.stored() == [f"{NAME}.sqlite3.gz"]

    @pytest.mark.parametrize(
        "key",
        [
            f"{NAME}-2.sql",
            "app_logs_20250115_020000_test.pgdump.xz.gpg",
            f"{NAME}.sql.zst",
            f"{NAME}.20260101T020000Z.proof.json",
            f"{NAME}.pin.json",
        ],
    )
    def test_confirmed_leftovers_are_deleted(self, site: Site, key: str) -> None:
        put(*daily(1))
        (site.backups / f"{NAME}.sqlite3.gz").unlink()
        leave(site, key)
        document = site.call("backup_prune", "--leftovers", "--yes", "--json").json
        assert [(found["keys"], found["removed"]) for found in document] == [([key], True)]
        assert site.stored() == ["default_1.json", "default_1.sqlite3"]

    def test_the_probe_of_a_killed_check_is_deleted(self, site: Site) -> None:
        """backup_check deletes its probe, unless it is killed before that."""
        leave(site, f"backup-check-{'0a' * 16}.probe")
        leave(site, "backup-check-mine.probe")
        assert site.call("backup_prune", "--leftovers", "--yes").code == 0
        assert site.stored() == ["backup-check-mine.probe"]

    def test_leftovers_in_folders_of_the_template_are_deleted(self, site: Site) -> None:
        site.configure(filename_template="{env}/{database}.{timestamp}")
        leave(site, "test/default.20250115_020000.sql.bz2")
        assert site.call("backup_prune", "--leftovers", "--yes").code == 0
        assert site.stored() == [f"{NAME}.sqlite3.gz"]

    def test_a_refused_deletion_is_reported(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """The other leftovers are deleted."""
        leave(site, f"{NAME}-2.sqlite3.gz")
        use_storage(monkeypatch, Locking(site.backups, f"{NAME}-2.sqlite3.gz"))
        answer = site.call("backup_prune", "--leftovers", "--yes", "--json")
        assert answer.code == 1
        assert "is locked until" in answer.stderr
        assert {found["name"]: found["removed"] for found in answer.json} == {NAME: True, f"{NAME}-2": False}
        assert site.stored() == [f"{NAME}-2.sqlite3.gz"]


class TestKept:
    @pytest.mark.parametrize(
        ("key", "why"),
        [
            ("export.sql.gz", "not named as the backups of this project and environment are"),
            ("default_20250115_020000_production.sql", "not named as"),
            ("default_20250115_020000_testing.sql", "not named as"),
            (f"old-{NAME}x.sql", "not named as"),
            (f"folder/{NAME}.sql", "not named as"),
        ],
    )
    def test_files_of_other_programs_are_kept(self, site: Site, key: str, why: str) -> None:
        leave(site, key)
        (found,) = site.call("backup_prune", "--leftovers", "--yes", "--json").json
        assert why in found["spared"]
        assert site.stored() == [key]

    @pytest.mark.parametrize("key", ["notes.txt", "shop.sqlite3-journal", "README", f"{NAME}.tar.gz", "x.json.bak"])
    def test_files_that_are_no_archives_are_ignored(self, site: Site, key: str) -> None:
        leave(site, key)
        assert site.call("backup_prune", "--leftovers", "--yes", "--json").json == []
        assert site.stored() == [key]

    def test_young_archives_are_kept(self, site: Site) -> None:
        """Another machine may be about to write its manifest."""
        leave(site, f"{NAME}.sqlite3.gz", hours=23.9)
        (found,) = site.call("backup_prune", "--leftovers", "--yes", "--json").json
        assert "younger than 24 hours" in found["spared"]
        assert site.stored() == [f"{NAME}.sqlite3.gz"]

    @pytest.mark.usefixtures("left")
    def test_pinned_archives_are_kept(self, site: Site) -> None:
        """Its manifest was lost, and the archive may be the one that somebody wanted to keep."""
        leave(site, f"{NAME}.pin.json")
        (found,) = site.call("backup_prune", "--leftovers", "--yes", "--json").json
        assert "pinned" in found["spared"]
        assert len(site.stored()) == 2

    @pytest.mark.usefixtures("left")
    def test_an_archive_with_a_damaged_manifest_is_kept(self, site: Site) -> None:
        """It is reported as a damaged backup instead; its data may still be good."""
        leave(site, f"{NAME}.json")
        assert site.call("backup_prune", "--leftovers", "--yes", "--json").json == []
        assert len(site.stored()) == 2

    def test_an_archive_that_any_manifest_may_own_is_kept(self, site: Site) -> None:
        """``NAME.old.sql`` may be the archive of the backup NAME."""
        leave(site, f"{NAME}.json")
        leave(site, f"{NAME}.old.sql")
        assert site.call("backup_prune", "--leftovers", "--yes", "--json").json == []

    @pytest.mark.usefixtures("left")
    def test_an_archive_whose_manifest_arrives_during_the_question_is_kept(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Slow:
            def isatty(self) -> bool:
                return True

            def readline(self) -> str:
                leave(site, f"{NAME}.json")
                return "y\n"

        monkeypatch.setattr("sys.stdin", Slow())
        (found,) = site.call("backup_prune", "--leftovers", "--json").json
        assert not found["removed"]
        assert len(site.stored()) == 2


def test_no_leftovers_is_reported(site: Site) -> None:
    put(*daily(1))
    answer = site.call("backup_prune", "--leftovers", "--yes")
    assert (answer.code, answer.stdout) == (0, "Nothing to delete.\n")


class TestSharedFolder:
    """Names hold no project: two projects that share a folder give their backups similar names."""

    @pytest.fixture(autouse=True)
    def _shared(self, site: Site, left: Path) -> None:
        theirs = Source(project="blog", env="test", database="default")
        put(make_manifest("default_20250116_020000_test", source=theirs))

    def test_leftovers_that_may_be_another_projects_are_kept(self, site: Site) -> None:
        (found,) = site.call("backup_prune", "--leftovers", "--yes", "--json").json
        assert "it may be of blog/test, whose backups are in" in found["spared"]
        assert f"{NAME}.sqlite3.gz" in site.stored()

    def test_a_leftover_is_deleted_by_name(self, site: Site) -> None:
        leave(site, "default_20250117_020000_test.sqlite3.gz")
        (found,) = site.call("backup_prune", "--yes", "--json", "--leftovers", NAME).json
        assert (found["name"], found["removed"]) == (NAME, True)
        assert "default_20250117_020000_test.sqlite3.gz" in site.stored()

    def test_a_name_that_is_no_leftover_is_an_error(self, site: Site) -> None:
        assert site.call("backup_prune", "--yes", "--leftovers", "nosuch").code == 5

    def test_another_environment_of_the_project_may_share_the_folder(self, site: Site) -> None:
        (site.backups / "default_20250116_020000_test.json").unlink()
        theirs = Source(project="tests", env="production", database="default")
        put(make_manifest("default_20250116_020000_production", source=theirs))
        found = site.call("backup_prune", "--leftovers", "--yes", "--json").json
        assert [one["removed"] for one in found if one["name"] == NAME] == [True]
