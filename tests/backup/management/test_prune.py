"""backup_prune, and what backup_list and backup_show say about retention."""

from __future__ import annotations

import os
import time

import pytest

from django_cfg.backup.formatting import format_time
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.storages import Recording
from tests.support.stored_history import ONE_DAY, Locking, backups, daily, put, use_storage
from tests.support.terminal import Terminal

ALL = {"default_1", "default_2", "default_3"}
DUE = "none of 1 day, 0 weeks, 0 months"


@pytest.fixture
def history(site: Site) -> list[Manifest]:
    """Three of the last days, the second pinned: the third is due."""
    site.configure(retention=ONE_DAY)
    made = daily(3)
    put(*made)
    (site.backups / "default_2.pin.json").write_bytes(b"{}")
    return made


def local_day(manifest: Manifest) -> str:
    return format_time(manifest.started_at, current_project().zone)[:10]


class TestTable:
    def test_each_backup_is_listed_with_the_decision_and_the_reason(self, site: Site, history: list[Manifest]) -> None:
        put(*daily(1, env="production"))
        answer = site.call("backup_prune", "--dry-run")
        header, *rows = answer.stdout.splitlines()
        assert header.split() == ["NAME", "DATABASE", "STARTED", "SIZE", "WHY"]
        assert [row.split()[:2] for row in rows] == [
            ["keep", "default_1"],
            ["keep", "default_2"],
            ["DELETE", "default_3"],
        ]
        assert rows[0].endswith(f"newest backup; one of 1 day: {local_day(history[0])}")
        assert rows[1].endswith("pinned")
        assert rows[2].endswith(f"24 bytes  {DUE}")
        assert "1 more of other projects or environments: they are never deleted from here." in answer.stderr

    @pytest.mark.parametrize("arguments", [["--dry-run"], [], ["--dry-run", "--yes"]], ids=" ".join)
    @pytest.mark.usefixtures("history")
    def test_a_dry_run_or_no_terminal_only_lists(self, site: Site, arguments: list[str]) -> None:
        """It is no failure: a cron job may list the decisions."""
        answer = site.call("backup_prune", *arguments)
        assert answer.code == 0
        assert "Only shown, nothing was deleted" in answer.stderr
        assert backups(site) == ALL

    def test_nothing_to_delete_is_reported(self, site: Site) -> None:
        put(*daily(2))
        answer = site.call("backup_prune", "--yes")
        assert answer.stdout.endswith("Nothing to delete.\n")
        assert len(backups(site)) == 2

    def test_an_empty_storage_is_reported(self, site: Site) -> None:
        assert f"No backup of tests/test in {site.backups}." in site.call("backup_prune", "--yes").stderr

    @pytest.mark.usefixtures("history")
    def test_damaged_backups_and_leftovers_are_warnings(self, site: Site) -> None:
        (site.backups / "default_1.sqlite3").unlink()
        (site.backups / "lost.sqlite3").write_bytes(b"x")
        answer = site.call("backup_prune")
        assert "Not a usable backup: The archive default_1.sqlite3 is missing" in answer.stderr
        assert "Without a manifest: lost.sqlite3; see backup_prune --leftovers." in answer.stderr


@pytest.mark.usefixtures("history")
class TestConfirmation:
    def test_a_yes_deletes(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", Terminal("y\n"))
        answer = site.call("backup_prune")
        assert answer.code == 0
        assert f"Delete 1 backup (24 bytes) in {site.backups} for good? [y/N]" in answer.stderr
        assert backups(site) == {"default_1", "default_2"}

    @pytest.mark.parametrize("typed", ["\n", "n\n", "", "maybe\n"])
    def test_any_other_answer_deletes_nothing(self, site: Site, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
        monkeypatch.setattr("sys.stdin", Terminal(typed))
        answer = site.call("backup_prune")
        assert (answer.code, answer.stderr.endswith("Nothing was done.")) == (1, True)
        assert backups(site) == ALL

    def test_a_backup_that_was_pinned_during_the_question_is_kept(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Slow(Terminal):
            def readline(self, size: int | None = -1, /) -> str:
                site.call("backup_pin", "default_3")
                return "yes\n"

        monkeypatch.setattr("sys.stdin", Slow())
        assert site.call("backup_prune").code == 0
        assert backups(site) == ALL


@pytest.mark.usefixtures("history")
class TestCarriedOut:
    def test_the_document_holds_all_decisions(self, site: Site, history: list[Manifest]) -> None:
        document = site.call("backup_prune", "--yes", "--json").json
        assert document["decisions"][2] == {
            "name": "default_3",
            "source": {"project": "tests", "env": "test", "database": "default"},
            "started_at": history[2].started_at.isoformat().replace("+00:00", "Z"),
            "size": 24,
            "keep": False,
            "reasons": [DUE],
        }
        del document["decisions"]
        assert document == {
            "place": "main",
            "warnings": [],
            "deleted": ["default_3"],
            "freed": 24,
            "kept": [],
            "failed": [],
            "swept": [],
            "copies": [],
        }

    def test_the_document_of_a_dry_run_has_deleted_nothing(self, site: Site) -> None:
        document = site.call("backup_prune", "--json").json
        assert (len(document["decisions"]), document["deleted"]) == (3, [])

    def test_a_refused_deletion_is_exit_code_1_and_in_the_document(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use_storage(monkeypatch, Recording(site.backups, "delete default_3.json"))
        answer = site.call("backup_prune", "--yes", "--json")
        assert answer.code == 1
        assert "1 of 1 backup could not be deleted; the next prune tries again" in answer.stderr
        (failed,) = answer.json["failed"]
        assert failed["name"] == "default_3"
        assert "the storage is gone" in failed["error"]

    def test_a_locked_backup_is_kept_and_reported(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        use_storage(monkeypatch, Locking(site.backups, "default_3.json"))
        answer = site.call("backup_prune", "--yes", "--json")
        assert answer.code == 0
        assert "default_3 is kept: locked." in answer.stderr
        assert answer.json["kept"] == [{"name": "default_3", "why": "locked"}]

    def test_a_backup_from_the_future_stops_the_prune(self, site: Site, history: list[Manifest]) -> None:
        put(daily(4)[3].model_copy(update={"started_at": history[0].started_at.replace(year=2090)}))
        answer = site.call("backup_prune", "--yes", "--json")
        assert answer.code == 1
        assert "default_4 of tests/test/default is dated 2090-" in answer.json["error"]
        assert "clocks is wrong" in answer.stderr

    def test_partial_files_of_an_interrupted_run_are_removed(self, site: Site) -> None:
        part = site.backups / f".default_9.sqlite3.gz.{'0a' * 16}.part"
        part.write_bytes(b"x")
        os.utime(part, (time.time() - 1e6, time.time() - 1e6))
        assert site.call("backup_prune", "--json").json["swept"] == []
        assert site.call("backup_prune", "--yes", "--json").json["swept"] == [part.name]


class TestOrphans:
    @pytest.fixture(autouse=True)
    def _orphans(self, site: Site) -> None:
        site.configure(retention=ONE_DAY)
        put(*daily(1), *daily(3, database="gone"))

    def test_orphans_are_kept_and_listed(self, site: Site) -> None:
        answer = site.call("backup_prune", "--yes")
        assert answer.stdout.count("orphaned: DATABASES has no 'gone'") == 3
        assert len(backups(site)) == 4

    def test_with_the_option_orphans_follow_the_rules(self, site: Site) -> None:
        """The newest stays: only backup_delete removes the last one."""
        assert site.call("backup_prune", "--orphans", "--yes").code == 0
        assert backups(site) == {"default_1", "gone_1"}

    def test_orphans_and_leftovers_exclude_each_other(self, site: Site) -> None:
        assert site.call("backup_prune", "--orphans", "--leftovers", "--yes").code != 0
        assert len(backups(site)) == 4


class TestListAndShow:
    @pytest.mark.usefixtures("history")
    def test_the_reason_of_each_backup_is_shown(self, site: Site) -> None:
        _, *rows = site.call("backup_list").stdout.splitlines()
        assert rows[0].endswith("  newest backup (+1)")
        assert "Kept as      newest backup; one of 1 day: " in site.call("backup_show", "default_1").stdout
        assert rows[1].endswith("  pinned")
        assert rows[2].endswith(f"  due for deletion: {DUE}")
        shown = site.call("backup_show", "default_3").stdout
        assert f"Kept as      due for deletion: {DUE}" in shown

    @pytest.mark.usefixtures("history")
    def test_switched_off_retention_is_the_reason(self, site: Site) -> None:
        site.configure(retention={**ONE_DAY, "enabled": False})
        assert f"retention is off: {DUE}" in site.call("backup_list").stdout

    @pytest.mark.usefixtures("history")
    def test_backups_of_other_sources_are_marked(self, site: Site) -> None:
        put(*daily(1, env="production"))
        assert "of another source: tests/production/default" in site.call("backup_list", "--all").stdout

    @pytest.mark.usefixtures("history")
    def test_backups_are_listed_with_a_wrong_clock(self, site: Site, history: list[Manifest]) -> None:
        put(daily(4)[3].model_copy(update={"started_at": history[0].started_at.replace(year=2090)}))
        answer = site.call("backup_list")
        assert answer.code == 0
        assert answer.stdout.count("unknown: backup_prune says why") == 4
        assert site.call("backup_show", "default_1").code == 0

    @pytest.mark.usefixtures("history")
    def test_json_holds_the_manifests(self, site: Site, history: list[Manifest]) -> None:
        assert site.call("backup_list", "--json").json == [m.model_dump(mode="json", by_alias=True) for m in history]
