"""backup_restore"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from django_cfg.backup.manifest import Manifest
from tests.support.django_project import Site

SQLITE = "django.db.backends.sqlite3"


@pytest.fixture
def backup(site: Site, books: Path) -> Manifest:
    """A backup with all 200 books, of which the database has lost half since."""
    manifest = site.create()
    site.sql("DELETE FROM book WHERE id > 100")
    return manifest


def count(site: Site, database: Path | None = None) -> int:
    return int(site.sql("SELECT count(*) FROM book", database=database)[0][0])


def test_the_data_is_back_and_the_old_data_is_kept(site: Site, backup: Manifest) -> None:
    answer = site.call("backup_restore", backup.name, "--yes")
    assert (answer.code, count(site)) == (0, 200)
    done, kept = answer.stdout.splitlines()
    assert done.startswith(f"default is now as in {backup.name}: ")
    assert f"{backup.rows:,} rows." in done
    (old,) = site.root.glob("db.sqlite3.before-restore-*")
    assert str(old) in kept
    assert count(site, old) == 100


def test_without_a_name_the_latest_is_restored(site: Site, backup: Manifest) -> None:
    site.create()
    site.sql("DELETE FROM book")
    site.call("backup_restore", "--yes")
    assert count(site) == 100


def test_json_names_what_was_done(site: Site, backup: Manifest) -> None:
    answer = site.call("backup_restore", "--yes", "--json")
    (old,) = site.root.glob("db.sqlite3.before-restore-*")
    seconds = answer.json["seconds"]
    facts = {"restored": backup.name, "to": "default", "old_data": str(old), "places_away": []}
    assert answer.json == {**facts, "advice": "", "skipped": [], "seconds": seconds, "sanitized_by": None}
    assert 0 < seconds < 60


def test_the_plan_is_shown_before_the_question(site: Site, backup: Manifest) -> None:
    """The backup, its time, the target and its location."""
    answer = site.call("backup_restore")
    assert answer.code == 1
    assert f"{backup.name} of tests/test/default" in answer.stderr
    assert f"the SQLite database 'default' ({site.database})" in answer.stderr
    assert "Replace the database 'default' with it?" in answer.stderr


def test_without_a_terminal_and_without_yes_nothing_is_done(site: Site, backup: Manifest) -> None:
    before = site.database.read_bytes()
    answer = site.call("backup_restore", "--json")
    assert answer.code == 1
    assert "give --yes to go on. Nothing was done." in answer.stderr
    assert site.database.read_bytes() == before
    assert list(site.root.glob("*before-restore*")) == []
    assert "error" in answer.json


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DELETE FROM django_migrations WHERE app = 'django_cfg_backup'", "behind your code (django_cfg_backup "),
        ("DELETE FROM django_migrations WHERE name = '0002_remove_content_type_name'", "1 migration behind"),
        (
            "INSERT INTO django_migrations (app, name, applied) VALUES ('auth', '0099_later', '2026-01-01')",
            "holds migration your code does not have (auth.0099_later)",
        ),
    ],
)
def test_differences_in_migrations_are_printed_before_and_after(
    site: Site, books: Path, change: str, words: str
) -> None:
    site.sql(change)
    site.create()
    answer = site.call("backup_restore", "--yes")
    assert answer.code == 0
    assert answer.stderr.count(words) == 2


def test_without_differences_nothing_is_said_about_migrations(site: Site, backup: Manifest) -> None:
    assert "your code" not in site.call("backup_restore", "--yes").stderr


def test_the_preview_names_tables_that_will_be_empty(site: Site, books: Path) -> None:
    site.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
    site.create()
    answer = site.call("backup_restore", "--yes")
    said = "Careful  It holds no rows of book: a restore brings none of them back."
    assert (answer.code, count(site), said in answer.stderr) == (0, 0, True)


class TestOtherSources:
    """A backup of another source is restored only to a database that is named."""

    @pytest.fixture(params=["ENV_MODE", "PROJECT_NAME"])
    def _elsewhere(self, site: Site, backup: Manifest, request: pytest.FixtureRequest) -> None:
        site.set(**{request.param: "another"})

    @pytest.mark.usefixtures("_elsewhere")
    def test_a_backup_of_another_source_needs_the_option_to(self, site: Site, backup: Manifest) -> None:
        before = site.database.read_bytes()
        answer = site.call("backup_restore", backup.name, "--yes")
        assert answer.code == 1
        assert "is a backup of tests/test/default, and this is " in answer.stderr
        assert answer.stderr.endswith("name the database it shall replace: --to default")
        assert site.database.read_bytes() == before

    @pytest.mark.usefixtures("_elsewhere")
    def test_with_to_it_is_restored_and_reported(self, site: Site, backup: Manifest) -> None:
        answer = site.call("backup_restore", backup.name, "--to", "default", "--yes")
        assert (answer.code, count(site)) == (0, 200)
        assert "Careful  it is a backup of another source" in answer.stderr

    @pytest.mark.usefixtures("_elsewhere")
    def test_latest_ignores_other_sources(self, site: Site) -> None:
        assert site.call("backup_restore", "--yes").code == 5

    def test_restore_to_another_database_of_the_project(self, site: Site, backup: Manifest) -> None:
        """The first database stays as it is, except for its history of restores."""
        copy = site.root / "copy.sqlite3"
        site.use_databases(
            default={"ENGINE": SQLITE, "NAME": str(site.database)}, copy={"ENGINE": SQLITE, "NAME": str(copy)}
        )
        before = site.content()
        answer = site.call("backup_restore", backup.name, "--to", "copy", "--yes", "--json")
        seconds = answer.json["seconds"]
        facts = {"restored": backup.name, "to": "copy", "old_data": None, "places_away": []}
        assert answer.json == {**facts, "advice": "", "skipped": [], "seconds": seconds, "sanitized_by": None}
        assert count(site, copy) == 200
        assert site.content() == before


class TestDisaster:
    """The default database, and its history with it, is gone or unreadable."""

    @pytest.mark.parametrize(
        "loss",
        [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"garbage" * 5000)],
        ids=["gone", "empty", "garbage"],
    )
    def test_a_lost_default_database_is_restored(
        self, site: Site, backup: Manifest, loss: Callable[[Path], object]
    ) -> None:
        site.close()
        loss(site.database)
        answer = site.call("backup_restore", "--yes")
        assert (answer.code, count(site)) == (0, 200)
        assert "Traceback" not in answer.stderr

    def test_with_backups_switched_off_a_restore_works(self, site: Site, backup: Manifest) -> None:
        """``enabled=False``: nothing runs automatically; listing, verifying and restoring work."""
        site.configure(enabled=False)
        assert [m["name"] for m in site.call("backup_list", "--json").json] == [backup.name]
        assert site.call("backup_verify", "latest").code == 0
        assert site.call("backup_restore", "--yes").code == 0
        assert count(site) == 200
        answer = site.call("backup_create")
        assert answer.code == 2
        assert "set enabled=True in BackupConfig" in answer.stderr


def test_a_damaged_newer_backup_is_a_warning(site: Site, backup: Manifest) -> None:
    """``latest`` is the newest good one; the warning names the newer one that was skipped."""
    newer = site.create()
    (site.backups / newer.archive_key).unlink()
    answer = site.call("backup_restore", "--yes")
    assert answer.code == 0
    assert f"Not a usable backup: The archive {newer.archive_key} is missing" in answer.stderr
    assert count(site) == 200
