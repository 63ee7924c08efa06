"""``migrate`` and ``backup_migrate``: a backup first, or no migration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db.utils import OperationalError
from django.test.utils import (
    setup_databases,
    setup_test_environment,
    teardown_databases,
    teardown_test_environment,
)

from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.runs.file_lock import source_lock
from tests.support import other_migrates
from tests.support.django_project import Site
from tests.support.written_migrations import WrittenMigrations, written_migrations

BROKEN = "ALTER TABLE book ADD title text"  # there is such a column


@pytest.fixture
def shop(site: Site, books: Path, tmp_path: Path) -> Iterator[WrittenMigrations]:
    """A database at migration 0001, and 0002 to apply; a backup is wanted before."""
    site.sql("DELETE FROM django_migrations")
    with written_migrations(tmp_path) as shop:
        shop.write("0001_initial", "CREATE TABLE IF NOT EXISTS book (id integer PRIMARY KEY, title text)")
        assert site.call("migrate", verbosity=0).code == 0
        shop.write("0002_price", "ALTER TABLE book ADD price integer", "ALTER TABLE book DROP COLUMN price")
        site.configure(before_migrate="pending")
        yield shop


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no longer than a moment for the lock of another backup."""
    monkeypatch.setattr("django_cfg.backup.services.runs.file_lock._PATIENCE", 0.1)


def is_migrated(site: Site) -> bool:
    return "price" in [row[1] for row in site.sql("PRAGMA table_info(book)")]


def the_backup() -> Manifest:
    (manifest,) = list_backups()
    return manifest


@pytest.mark.usefixtures("shop")
class TestMigrate:
    def test_what_is_pending_is_preceded_by_a_backup(self, site: Site) -> None:
        answer = site.call("migrate")
        manifest = the_backup()
        assert (answer.code, is_migrated(site)) == (0, True)
        assert (manifest.trigger, manifest.note) == ("before-migrate", "before sessions.0002_price")
        assert manifest.migrations["sessions"] == ("0001_initial",)
        assert f"manage.py backup_restore {manifest.name}" in answer.stdout

    def test_it_brings_back_what_was_before(self, site: Site) -> None:
        before = site.content()
        site.call("migrate", verbosity=0)
        answer = site.call("backup_restore", the_backup().name, "--yes")
        assert site.content() == before
        assert "Made     before sessions.0002_price" in answer.stderr

    def test_it_is_a_backup_that_latest_means(self, site: Site) -> None:
        site.create()
        site.call("migrate", verbosity=0)
        assert "before sessions.0002_price" in site.call("backup_show", "latest").stdout

    def test_taking_back_a_migration_counts(self, site: Site) -> None:
        site.call("migrate", "sessions", "0002", verbosity=0)
        site.call("migrate", "sessions", "0001", verbosity=0)
        assert [manifest.note for manifest in list_backups()] == [
            "before taking back sessions.0002_price",
            "before sessions.0002_price",
        ]

    def test_nothing_pending_makes_no_backup(self, site: Site) -> None:
        site.call("migrate", verbosity=0)
        site.call("migrate", verbosity=0)
        assert the_backup().note == "before sessions.0002_price"

    @pytest.mark.parametrize("option", ["--plan", "--fake"])
    def test_what_changes_no_table_makes_no_backup(self, site: Site, option: str) -> None:
        assert site.call("migrate", option, verbosity=0).code == 0
        assert (list_backups(), is_migrated(site)) == ([], False)

    def test_check_makes_no_backup(self, site: Site) -> None:
        with pytest.raises(SystemExit):
            site.call("migrate", "--check")
        assert list_backups() == []

    @pytest.mark.parametrize("parameters", [{"before_migrate": "off"}, {"before_migrate": "pending", "enabled": False}])
    def test_switched_off(self, site: Site, parameters: dict[str, object]) -> None:
        site.configure(**parameters)
        assert site.call("migrate", verbosity=0).code == 0
        assert (list_backups(), is_migrated(site)) == ([], True)

    def test_without_settings_of_backups(self, site: Site) -> None:
        site.set(BACKUP=None)
        assert site.call("migrate", verbosity=0).code == 0
        assert is_migrated(site)

    def test_a_database_that_is_not_enabled(self, site: Site) -> None:
        site.configure(before_migrate="pending", databases=[{"alias": "default", "enabled": False}])
        answer = site.call("migrate")
        assert "No backup of default before its migrations: it is not enabled for backups." in answer.stdout
        assert (list_backups(), is_migrated(site)) == ([], True)

    def test_another_alias_of_a_database_that_is_enabled(self, site: Site) -> None:
        settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(site.database)}
        site.use_databases(default=settings, direct=dict(settings))
        assert site.call("migrate", "--database", "direct", verbosity=0).code == 0
        assert the_backup().source.database == "default"

    def test_a_database_without_tables_has_nothing_to_lose(self, site: Site, tmp_path: Path) -> None:
        site.use_databases(default={"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "new.sqlite3")})
        answer = site.call("migrate", run_syncdb=True)
        assert answer.code == 0, answer.stderr
        assert "it has no table yet, so there is nothing to lose" in answer.stdout

    def test_a_history_that_cannot_be_written_keeps_nothing_from_migrating(self, site: Site) -> None:
        site.sql("DROP TABLE django_cfg_backup_run")
        assert site.call("migrate", verbosity=0).code == 0
        assert (the_backup().trigger, is_migrated(site)) == ("before-migrate", True)


@pytest.mark.usefixtures("shop")
class TestNoBackup:
    def test_a_backup_that_fails_stops_the_migration(self, site: Site) -> None:
        site.backups.write_text("a file in the way of the folder")
        answer = site.call("migrate")
        assert (answer.code, is_migrated(site)) == (1, False)
        assert answer.stderr.startswith("Nothing was migrated: the backup of 'default' that comes before")
        assert 'set BackupConfig.before_migrate to "off"' in answer.stderr

    def test_settings_that_cannot_be_read_stop_it(self, site: Site) -> None:
        site.set(BACKUP={"enabled": True, "before_migrate": "always"})
        answer = site.call("migrate")
        assert (answer.code, is_migrated(site)) == (2, False)
        assert "before_migrate" in answer.stderr

    @pytest.mark.usefixtures("impatient")
    def test_a_backup_that_is_running_stops_it(self, site: Site) -> None:
        project = current_project()
        with source_lock(project, project.source("default"), "backup"):
            answer = site.call("migrate")
        assert (answer.code, is_migrated(site)) == (1, False)
        assert "When that backup has ended (`backup_status`), run this command again." in answer.stderr

    def test_a_copy_that_is_missing_warns(self, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
        (site.root / "offsite").write_text("a file in the way of the folder")
        copies = [{"name": "offsite", "storage": {"local_path": str(site.root / "offsite")}}]
        site.configure(before_migrate="pending", copies=copies)
        assert site.call("migrate").code == 0
        assert "is not in all places where it is required" in capsys.readouterr().err
        assert is_migrated(site)


@pytest.mark.usefixtures("shop")
class TestOfTests:
    """The databases of tests are migrated without a backup."""

    def test_a_database_that_a_test_runner_makes(self, site: Site) -> None:
        made = setup_databases(0, interactive=False, aliases={"default"}, serialized_aliases=set())
        teardown_databases(made, 0)
        assert (list_backups(), is_migrated(site)) == ([], False)

    def test_a_test_that_migrates(self, site: Site) -> None:
        setup_test_environment(debug=False)
        try:
            call_command("migrate", verbosity=0)
        finally:
            teardown_test_environment()
        assert (list_backups(), is_migrated(site)) == ([], True)


class TestCommand:
    """``backup_migrate`` needs no setting."""

    @pytest.fixture(autouse=True)
    def _not_configured(self, site: Site, shop: WrittenMigrations) -> None:
        site.configure()

    def test_backs_up_and_migrates(self, site: Site) -> None:
        answer = site.call("backup_migrate")
        assert (answer.code, is_migrated(site)) == (0, True), answer.stderr
        assert f"Backed up default as {the_backup().name}, before sessions.0002_price." in answer.stdout
        assert "  Applying sessions.0002_price... OK" in answer.stdout
        assert answer.stdout.count("Operations to perform") == 1

    def test_configured_as_well_it_is_one_backup(self, site: Site) -> None:
        site.configure(before_migrate="pending")
        assert site.call("backup_migrate", "--json").json == [{"database": "default", "backup": the_backup().name}]

    def test_nothing_pending(self, site: Site) -> None:
        assert site.call("backup_migrate", "sessions", "0001_initial").code == 0
        assert (list_backups(), is_migrated(site)) == ([], False)

    @pytest.mark.parametrize("option", ["--plan", "--fake", "--prune"])
    def test_what_changes_no_table(self, site: Site, option: str) -> None:
        assert site.call("backup_migrate", "sessions", option).code == 0
        assert (list_backups(), is_migrated(site)) == ([], False)

    def test_a_migration_that_fails_names_the_way_back(self, site: Site, shop: WrittenMigrations) -> None:
        shop.write("0003_broken", BROKEN)
        with pytest.raises(OperationalError) as failure:
            site.call("backup_migrate")
        (note,) = failure.value.__notes__
        assert note.endswith(f"manage.py backup_restore {the_backup().name}")

    def test_a_migration_that_fails_is_one_document(
        self, site: Site, shop: WrittenMigrations, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shop.write("0003_broken", BROKEN)
        with pytest.raises(OperationalError):
            call_command("backup_migrate", json=True)
        assert the_backup().name in json.loads(capsys.readouterr().out)["error"]

    @pytest.mark.usefixtures("impatient")
    def test_no_database_is_migrated_when_a_backup_fails(self, site: Site, tmp_path: Path) -> None:
        """The first one could be backed up, the second one is locked."""
        second = tmp_path / "second.sqlite3"
        site.sql("CREATE TABLE book (id integer)", database=second)
        names = {"default": site.database, "second": second}
        site.use_databases(
            **{alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": str(name)} for alias, name in names.items()}
        )
        project = current_project()
        with source_lock(project, project.source("second"), "backup"):
            answer = site.call("backup_migrate", "--database", "default", "--database", "second")
        assert (answer.code, is_migrated(site)) == (1, False)
        assert "Nothing was migrated: the backup of 'second'" in answer.stderr

    def test_a_migration_that_is_interrupted_stays_as_far_as_it_is(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is not said that anything was rolled back: migrations that had ended stay."""
        monkeypatch.setattr(
            "django_cfg.backup.management.commands.backup_migrate._migrate", other_migrates.InterruptedMigrate
        )
        answer = site.call("backup_migrate")
        assert (answer.code, is_migrated(site), "rolled back" in answer.stderr) == (130, True, False)
        assert "The migrations of 'default' were interrupted; those that had ended stay applied" in answer.stderr
        assert answer.stderr.endswith(f"manage.py backup_restore {the_backup().name}")

    def test_a_backup_of_some_tables_cannot_bring_the_database_back(self, site: Site) -> None:
        site.configure(databases=[{"alias": "default", "include_tables": ["author", "book"]}])
        answer = site.call("backup_migrate")
        way = f"cannot bring back the database; into an empty one: manage.py backup_restore {the_backup().name} --to"
        assert (way in answer.stdout, "bring it back" in answer.stdout) == (True, False)

    def test_rows_that_are_left_out_are_named(self, site: Site) -> None:
        site.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
        answer = site.call("backup_migrate")
        assert "It holds no rows of book: a restore brings none of them back." in answer.stdout

    @pytest.mark.parametrize("kind", ["CatchingMigrate", "TenantsMigrate"])
    def test_another_migrate_than_djangos(self, site: Site, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        """Nothing is applied without a backup, whatever it catches, and if its first plan is empty."""
        migrate = getattr(other_migrates, kind)()
        monkeypatch.setattr("django_cfg.backup.management.commands.backup_migrate._migrate", lambda: migrate)
        answer = site.call("backup_migrate", "--json")
        assert (answer.code, is_migrated(site)) == (0, True), answer.stderr
        assert answer.json == [{"database": "default", "backup": the_backup().name}]
        assert the_backup().migrations["sessions"] == ("0001_initial",)

    @pytest.mark.usefixtures("impatient")
    def test_a_backup_that_fails_is_one_document(self, site: Site) -> None:
        project = current_project()
        with source_lock(project, project.source("default"), "backup"):
            answer = site.call("backup_migrate", "--json")
        assert (answer.code, is_migrated(site)) == (1, False)
        assert "Nothing was migrated: the backup of 'default'" in answer.json["error"]

    def test_a_copy_that_is_missing_warns(self, site: Site) -> None:
        (site.root / "offsite").write_text("no folder")
        site.configure(copies=[{"name": "offsite", "storage": {"local_path": str(site.root / "offsite")}}])
        answer = site.call("backup_migrate")
        assert (answer.code, is_migrated(site)) == (0, True)
        assert "offsite" in answer.stderr

    @pytest.mark.usefixtures("impatient")
    def test_a_late_backup_that_fails_says_all(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """There is nothing to correct in the migration, which has not begun."""
        migrate = other_migrates.TenantsMigrate()
        monkeypatch.setattr("django_cfg.backup.management.commands.backup_migrate._migrate", lambda: migrate)
        project = current_project()
        with source_lock(project, project.source("default"), "backup"):
            answer = site.call("backup_migrate")
        assert (answer.code, is_migrated(site)) == (1, False)
        assert "the backup of 'default'" in answer.stderr
        assert "Correct it and run migrate again" not in answer.stderr

    @pytest.mark.parametrize("as_json", [True, False])
    def test_a_migrate_that_refuses_after_the_backup(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, as_json: bool
    ) -> None:
        """Its words and its exit code, and the way back."""
        migrate = other_migrates.RefusingMigrate()
        monkeypatch.setattr("django_cfg.backup.management.commands.backup_migrate._migrate", lambda: migrate)
        answer = site.call("backup_migrate", json=as_json)
        assert (answer.code, is_migrated(site)) == (7, True)
        assert "The tenants differ.\nThe migration of 'default' failed." in answer.stderr
        way = f"or bring back the database as it was before: manage.py backup_restore {the_backup().name}"
        assert way in (answer.json["error"] if as_json else answer.stderr)

    def test_a_migrate_that_refuses_without_a_backup(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        assert site.call("migrate", verbosity=0).code == 0
        migrate = other_migrates.RefusingMigrate()
        monkeypatch.setattr("django_cfg.backup.management.commands.backup_migrate._migrate", lambda: migrate)
        answer = site.call("backup_migrate")
        assert (answer.code, list_backups()) == (7, [])
        assert answer.stderr.endswith("The migration of 'default' failed. Correct it and run migrate again.")

    def test_a_backup_of_some_tables_is_no_way_back(self, site: Site, shop: WrittenMigrations) -> None:
        site.configure(databases=[{"alias": "default", "include_tables": ["author", "book"]}])
        shop.write("0003_broken", BROKEN)
        with pytest.raises(OperationalError) as failure:
            site.call("backup_migrate")
        (note,) = failure.value.__notes__
        assert "or bring back the database" not in note
        assert "cannot bring back the database" in note

    def test_what_cannot_be_migrated_is_not_backed_up(self, site: Site) -> None:
        answer = site.call("backup_migrate", "nonsense")
        assert (answer.code, list_backups()) == (1, [])
        assert "No installed app with label 'nonsense'" in answer.stderr
