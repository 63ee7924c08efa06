"""backup_list and backup_show"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from django_cfg.backup import migrations
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.manifests import STARTED, make_manifest, publish


@pytest.fixture
def two(site: Site) -> list[Manifest]:
    """An older one that is called later, a newer partial one, and one of another environment."""
    older = make_manifest("z_older")
    newer = make_manifest("a_newer", started_at=STARTED + timedelta(hours=1), partial=True, trigger="scheduled")
    alien = make_manifest("live", source=Source(project="tests", env="production", database="default"))
    publish(current_project().storage, older, newer, alien)
    return [newer, older]


class TestList:
    def test_an_empty_storage_is_reported_on_stderr(self, site: Site) -> None:
        """It is no failure; the document is an empty array."""
        answer = site.call("backup_list")
        assert (answer.code, answer.stdout) == (0, "")
        assert f"No backup of tests/test in {site.backups}." in answer.stderr
        assert site.call("backup_list", "--json").json == []

    @pytest.mark.usefixtures("two")
    def test_the_table_is_sorted_newest_first(self, site: Site) -> None:
        """In the project's time zone, on the night of the clock change."""
        answer = site.call("backup_list")
        header, newer, older = answer.stdout.splitlines()
        assert header.split() == [
            "NAME",
            "DATABASE",
            "STARTED",
            "SIZE",
            "ROWS",
            "TRIGGER",
            "LAST",
            "PROOF",
            "KEPT",
            "AS",
        ]
        assert newer.split("  ")[0] == "a_newer"
        assert "  default (partial)  " in newer
        assert "2026-10-25 02:30:00 CET" in newer
        assert "  scheduled  " in newer
        assert "2026-10-25 02:30:00 CEST" in older
        assert "22 bytes" in older
        assert "250" in older
        assert "1 more of other projects or environments: --all shows them." in answer.stderr

    def test_json_is_an_array_of_manifests(self, site: Site, two: list[Manifest]) -> None:
        """As they are stored, key by key."""
        answer = site.call("backup_list", "--json")
        assert [Manifest.model_validate(document) for document in answer.json] == two
        assert all(document["schema"] == 1 for document in answer.json)

    def test_the_first_reason_is_enough_in_a_table(self, site: Site) -> None:
        """All of them make lines that a terminal breaks; `backup_show` has them."""
        site.create()
        (line,) = site.call("backup_list").stdout.splitlines()[1:]
        assert line.endswith("  newest backup (+3)")
        shown = site.call("backup_show", "latest").stdout
        for reason in ("newest backup; one of 7 days: ", "; newest of week ", "; newest of month "):
            assert reason in shown

    @pytest.mark.usefixtures("two")
    def test_all_shows_the_sources(self, site: Site) -> None:
        listed = site.call("backup_list", "--all").stdout
        assert listed.split()[1] == "SOURCE"
        assert "  tests/test/default (partial)  " in listed
        assert "  tests/production/default  " in listed

    @pytest.mark.usefixtures("two")
    def test_all_lists_other_sources_too(self, site: Site) -> None:
        assert {m["name"] for m in site.call("backup_list", "--all", "--json").json} == {"a_newer", "z_older", "live"}

    @pytest.mark.usefixtures("two")
    def test_database_limits_the_list(self, site: Site) -> None:
        assert len(site.call("backup_list", "--database", "default", "--json").json) == 2
        answer = site.call("backup_list", "--database", "logs", "--json")
        assert answer.code == 2
        assert "no database 'logs' in settings.DATABASES" in answer.json["error"]

    @pytest.mark.usefixtures("two")
    def test_damaged_backups_are_warnings(self, site: Site) -> None:
        """The good ones are listed; the document holds the good ones only."""
        (site.backups / "z_older.json").write_text("{")
        answer = site.call("backup_list", "--json")
        assert answer.code == 0
        assert [m["name"] for m in answer.json] == ["a_newer"]
        assert "Not a usable backup: The manifest z_older.json is not complete JSON" in answer.stderr


class TestShow:
    def test_all_facts_are_printed(self, site: Site, books: Path) -> None:
        manifest = site.create(note="before the sale")
        shown = site.call("backup_show", "latest").stdout
        for fact in (
            manifest.name,
            "tests/test/default",
            manifest.archive.sha256,
            manifest.archive_key,
            "before the sale",
            manifest.restore_hint,
            "as in your code",
            "sqlite ",
        ):
            assert fact in shown

    def test_each_table_has_its_line(self, site: Site, books: Path) -> None:
        site.create()
        lines = [line.split() for line in site.call("backup_show", "latest").stdout.splitlines()]
        assert ["TABLE", "ROWS"] in lines
        assert ["book", "200"] in lines
        assert ["author", "50"] in lines

    def test_json_is_the_manifest(self, site: Site, two: list[Manifest]) -> None:
        answer = site.call("backup_show", "a_new", "--json")
        assert Manifest.model_validate(answer.json) == two[0]

    def test_differences_in_migrations_are_printed(self, site: Site, books: Path) -> None:
        site.sql("DELETE FROM django_migrations WHERE app = 'django_cfg_backup'")
        site.create()
        number = len(list(Path(next(iter(migrations.__path__))).glob("0*.py")))
        assert (
            f"{number} migration behind your code (django_cfg_backup {number}): run migrate"
            in site.call("backup_show", "latest").stdout
        )
