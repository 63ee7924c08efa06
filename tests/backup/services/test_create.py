"""Creating backups: the order of the steps, cleaning up after failures, and signals."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.dispatch import Signal

from django_cfg.backup import create_backup, list_backups, migrations
from django_cfg.backup.engines.base import Dump, Selection
from django_cfg.backup.engines.sqlite import SQLiteEngine
from django_cfg.backup.errors import (
    AllFailed,
    BackupError,
    ConfigurationError,
    DatabaseUnavailable,
    DumpFailed,
    SomeFailed,
    StorageError,
    UsageError,
)
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.models import Run
from django_cfg.backup.services.creation.batch import Failure, batch_error, create_backups
from django_cfg.backup.signals import backup_failed, backup_succeeded
from tests.support.django_project import Site
from tests.support.storages import Recording
from tests.support.unprivileged import Unprivileged

SQLITE = "django.db.backends.sqlite3"
Use = Callable[..., Recording]


@pytest.fixture
def use_storage(site: Site, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Give the project a storage that records its calls, and fails at the given one."""

    def use(failing: str = "") -> Recording:
        storage = Recording(site.backups, failing)
        monkeypatch.setattr("django_cfg.backup.services.project.places.open_storage", lambda *args: storage)
        return storage

    return use


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, which has to be empty after each of these tests."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@contextmanager
def heard(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    """Collect what *signal* sends while the block runs."""
    received: list[dict[str, Any]] = []

    def listen(**facts: Any) -> None:
        received.append(facts)

    signal.connect(listen)
    try:
        yield received
    finally:
        signal.disconnect(listen)


def two_databases(site: Site, second: Path) -> None:
    site.use_databases(
        default={"ENGINE": SQLITE, "NAME": str(site.database)}, shop={"ENGINE": SQLITE, "NAME": str(second)}
    )


def newest_migration() -> str:
    folder = Path(next(iter(migrations.__path__)))
    return max(path.stem for path in folder.glob("0*.py"))


class TestManifest:
    def test_the_manifest_records_what_happened(self, site: Site, books: Path) -> None:
        before = datetime.now(UTC)
        manifest = create_backup(note="before the sale")
        assert manifest.source == Source(project="tests", env="test", database="default")
        assert (manifest.trigger, manifest.note, manifest.partial) == ("manual", "before the sale", False)
        assert manifest.host == socket.gethostname()
        assert before <= manifest.started_at <= manifest.finished_at <= datetime.now(UTC)
        assert {table.name: table.rows for table in manifest.tables if table.name in ("book", "author")} == {
            "book": 200,
            "author": 50,
        }
        assert all(table.exact for table in manifest.tables)
        assert manifest.migrations["django_cfg_backup"][-1] == newest_migration()
        assert manifest.packages["django"] == django.get_version()
        assert {"django-cfg-backup", "python"} < set(manifest.packages)
        assert manifest.archive.raw_size == books.stat().st_size

    @pytest.mark.usefixtures("books")
    def test_the_returned_manifest_is_the_stored_one(self, site: Site) -> None:
        manifest = create_backup()
        assert list_backups() == [manifest]
        assert site.stored() == [manifest.key, manifest.archive_key]

    @pytest.mark.usefixtures("books")
    def test_the_manifest_holds_no_secret(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing of the settings and the environment except the names that belong there."""
        monkeypatch.setenv("PGPASSWORD", "secret-of-the-environment")
        site.set(SECRET_KEY="secret-of-django")
        site.use_databases(
            default={
                "ENGINE": SQLITE,
                "NAME": str(site.database),
                "PASSWORD": "secret-of-the-database",
                "USER": "secret-user",
            }
        )
        site.configure(storage={"s3_access_key": "secret-access", "s3_secret_key": "secret-key"})
        assert b"secret" not in create_backup().to_json()

    @pytest.mark.usefixtures("books")
    def test_two_backups_in_one_second_have_different_names(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        moment = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
        monkeypatch.setattr("django_cfg.backup.services.project.clock.now", lambda: moment)
        names = [create_backup().name for _ in range(3)]
        assert names == [f"default_20261025_023000_test{suffix}" for suffix in ("", "-2", "-3")]
        moment += timedelta(hours=1)  # the clock is set back, and the hour repeats
        monkeypatch.setattr("django_cfg.backup.services.project.clock.now", lambda: moment)
        assert create_backup().name == "default_20261025_023000_test-4"

    @pytest.mark.usefixtures("books")
    def test_a_template_with_folders_makes_folders(self, site: Site) -> None:
        site.configure(filename_template="{env}/{database}/{timestamp}", compression="none")
        manifest = create_backup()
        assert manifest.name.startswith("test/default/")
        assert manifest.archive.key == manifest.name.rpartition("/")[2] + ".sqlite3"
        assert site.stored() == [manifest.key, manifest.archive_key]


class TestOrder:
    @pytest.mark.usefixtures("books")
    def test_the_manifest_is_written_last(self, use_storage: Use) -> None:
        storage = use_storage()
        manifest = create_backup()
        published = [step for step in storage.steps if step.startswith("publish")]
        assert published == [f"publish {manifest.archive_key}", f"publish {manifest.key}"]

    @pytest.mark.usefixtures("books")
    def test_a_failed_manifest_removes_its_archive(self, site: Site, use_storage: Use) -> None:
        storage = use_storage(failing=".json")
        with pytest.raises(StorageError, match=r"Could not publish .*\.json: the storage is gone"):
            create_backup()
        archive, manifest, deletion = storage.steps
        assert manifest.endswith(".json")
        assert deletion == archive.replace("publish", "delete")
        assert site.stored() == []
        assert list_backups() == []

    @pytest.mark.usefixtures("books")
    def test_a_failed_archive_has_no_manifest(self, site: Site, use_storage: Use) -> None:
        storage = use_storage(failing="sqlite3.gz")
        with pytest.raises(StorageError, match="the storage is gone"):
            create_backup()
        assert len(storage.steps) == 1
        assert site.stored() == []

    @pytest.mark.usefixtures("books")
    def test_success_is_sent_after_publishing(self) -> None:
        """A receiver finds the backup in the storage and its run recorded."""

        def look(manifest: Manifest, **facts: Any) -> None:
            seen.extend((list_backups(), Run.objects.get().state))

        seen: list[Any] = []
        backup_succeeded.connect(look)
        try:
            manifest = create_backup()
        finally:
            backup_succeeded.disconnect(look)
        assert seen == [[manifest], "succeeded"]


class TestFailure:
    @staticmethod
    def _damage(database: Path) -> None:
        """Overwrite the middle of a table's pages, as a dying disk does."""
        with database.open("r+b") as file:
            file.seek(database.stat().st_size - 3 * 4096)
            file.write(b"\xff" * 2 * 4096)

    def test_a_damaged_database_publishes_nothing(self, site: Site, books: Path) -> None:
        """The damage is found while the dump streams, and the partial archive is removed."""
        self._damage(books)
        with pytest.raises((DumpFailed, DatabaseUnavailable)):
            create_backup()
        assert site.stored() == []

    @pytest.mark.parametrize(
        ("parameters", "kind"),
        [
            ({"databases": [{"alias": "default", "exclude_tables": ["nosuch"]}]}, UsageError),
            ({"databases": [{"alias": "default", "include_tables": ["nosuch_*"]}]}, UsageError),
            ({"databases": [{"alias": "default", "extra_options": ["--verbose"]}]}, UsageError),
            ({"enabled": False}, ConfigurationError),
        ],
    )
    def test_unsupported_settings_publish_nothing(
        self, site: Site, books: Path, parameters: dict[str, Any], kind: type[BackupError]
    ) -> None:
        """The database is not changed, except for its history."""
        rows = site.sql("SELECT * FROM book")
        site.configure(**parameters)
        with pytest.raises(kind):
            create_backup()
        assert site.stored() == [] if site.backups.exists() else True
        assert site.sql("SELECT * FROM book") == rows

    def test_switched_off_backups_are_an_error_that_says_how_to_switch_on(self, site: Site) -> None:
        """No run is recorded: nothing was tried."""
        site.configure(enabled=False)
        with pytest.raises(ConfigurationError, match="set enabled=True in BackupConfig"):
            create_backup()
        assert not Run.objects.exists()

    def test_an_unknown_alias_is_no_run(self, site: Site) -> None:
        with pytest.raises(UsageError, match="'nosuch'"):
            create_backup("nosuch")
        assert not Run.objects.exists()

    def test_an_interruption_leaves_nothing(self, site: Site, books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C in the middle of the stream."""

        def interrupt(count: int) -> None:
            raise KeyboardInterrupt

        class Interrupting:
            advance = staticmethod(interrupt)

            def say(self, text: str) -> None: ...
            def begin(self, label: str, total: int) -> None: ...
            def end(self) -> None: ...

        with pytest.raises(KeyboardInterrupt):
            create_backup(progress=Interrupting())
        assert site.stored() == []

    def test_an_unreadable_database_folder_is_an_error(
        self, site: Site, open_folder: Path, unprivileged: Unprivileged, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One BackupError with the path and the reason."""
        monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
        closed = open_folder / "closed"
        closed.mkdir()
        site.sql("CREATE TABLE book (id integer)", database=closed / "db")
        site.use_databases(default={"ENGINE": SQLITE, "NAME": str(closed / "db")})
        site.configure(storage={"local_path": str(open_folder / "backups")})
        closed.chmod(0o000)
        with unprivileged(), pytest.raises(BackupError, match=f"{closed}.*Permission denied"):
            create_backup()
        closed.chmod(0o700)

    def test_a_missing_database_is_not_created(self, site: Site) -> None:
        """Connecting to it for the history would create it, and the next backup would hold an empty database."""
        site.database.unlink()
        with pytest.raises(DatabaseUnavailable, match=f"no file {site.database}"):
            create_backup()
        assert not site.database.exists()


class TestSeveral:
    @pytest.mark.usefixtures("books")
    def test_each_database_is_independent(self, site: Site) -> None:
        """The first is missing, the second is backed up; the outcome is SomeFailed, exit code 3."""
        two_databases(site, site.root / "second.sqlite3")
        site.sql("CREATE TABLE book (id integer)", database=site.root / "second.sqlite3")
        site.database.unlink()
        results = list(create_backups())
        assert [type(result) for result in results] == [Failure, Manifest]
        assert [manifest.source.database for manifest in list_backups()] == ["shop"]
        error = batch_error(results)
        assert isinstance(error, SomeFailed)
        assert (error.exit_code, list(error.errors)) == (3, ["default"])
        assert error.made == (list_backups()[0].name,)
        assert str(error).startswith("1 of 2 databases were not backed up:\ndefault: The database 'default' is missing")

    def test_all_failed_is_a_failure(self, site: Site) -> None:
        """Exit code 1, not 3; every database is listed."""
        two_databases(site, site.root / "missing.sqlite3")
        site.database.unlink()
        error = batch_error(list(create_backups()))
        assert error is not None
        assert isinstance(error, AllFailed)
        assert (error.exit_code, error.made, sorted(error.errors)) == (1, (), ["default", "shop"])
        assert "default: " in str(error)
        assert "shop: " in str(error)

    def test_a_single_database_fails_with_its_own_error(self, site: Site) -> None:
        """Not wrapped into a count of one."""
        site.database.unlink()
        assert isinstance(batch_error(list(create_backups())), DatabaseUnavailable)

    def test_success_of_all_databases_raises_nothing(self, site: Site) -> None:
        assert batch_error(list(create_backups())) is None

    def test_an_unknown_alias_stops_before_the_first(self, site: Site) -> None:
        """Half of a misspelt command is not carried out."""
        with pytest.raises(UsageError, match="nosuch"):
            list(create_backups(["default", "nosuch"]))
        assert not site.backups.exists()

    def test_an_alias_given_twice_is_backed_up_once(self, site: Site) -> None:
        assert len(list(create_backups(["default", "default"]))) == 1

    @pytest.mark.usefixtures("books")
    def test_a_disabled_database_is_backed_up_if_named(self, site: Site) -> None:
        """``enabled=False`` applies to automatic backups only."""
        site.configure(databases=[{"alias": "default", "enabled": False}])
        assert list(create_backups()) == []
        assert len(list(create_backups(["default"]))) == 1


class TestSignals:
    @pytest.mark.usefixtures("books")
    def test_success_sends_the_manifest(self) -> None:
        with heard(backup_succeeded) as good, heard(backup_failed) as bad:
            manifest = create_backup()
        assert [facts["manifest"] for facts in good] == [manifest]
        assert good[0]["warning"] == ""
        assert bad == []

    def test_failure_sends_the_source_and_the_reason(self, site: Site) -> None:
        site.configure(databases=[{"alias": "default", "exclude_tables": ["nosuch"]}])
        with heard(backup_succeeded) as good, heard(backup_failed) as bad, pytest.raises(UsageError) as caught:
            create_backup()
        assert [(facts["source"], facts["message"]) for facts in bad] == [
            (Source(project="tests", env="test", database="default"), str(caught.value))
        ]
        assert good == []

    @pytest.mark.parametrize("outcome", ["success", "failure"])
    def test_a_failing_receiver_changes_nothing(
        self, site: Site, caplog: pytest.LogCaptureFixture, outcome: str
    ) -> None:
        """It is logged, the next receiver is called, and the outcome stays what it was."""

        def fail(**facts: Any) -> None:
            raise RuntimeError("the mail server is down")

        signal = backup_succeeded if outcome == "success" else backup_failed
        signal.connect(fail)
        try:
            with heard(signal) as received:
                if outcome == "success":
                    assert create_backup() == list_backups()[0]
                else:
                    site.configure(databases=[{"alias": "default", "exclude_tables": ["nosuch"]}])
                    with pytest.raises(UsageError):
                        create_backup()
        finally:
            signal.disconnect(fail)
        assert len(received) == 1
        assert "the mail server is down" in caplog.text


def test_an_unexpected_failure_does_not_stop_the_other_databases(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    two_databases(site, site.root / "second.sqlite3")
    site.sql("CREATE TABLE book (id integer)", database=site.root / "second.sqlite3")
    dump = SQLiteEngine.dump

    def fail_for_default(self: SQLiteEngine, selection: Selection) -> AbstractContextManager[Dump]:
        if self.database.alias == "default":
            raise RuntimeError("a defect of ours")
        return dump(self, selection)

    monkeypatch.setattr(SQLiteEngine, "dump", fail_for_default)
    failure, manifest = list(create_backups())
    assert isinstance(failure, Failure)
    assert "a defect of ours" in str(failure.error)
    assert isinstance(manifest, Manifest)


def test_a_time_zone_of_none_is_the_local_time_zone(site: Site) -> None:
    site.set(TIME_ZONE=None)
    assert create_backup().name.startswith("default_")


def test_a_note_of_invalid_text_is_kept_as_far_as_possible(site: Site) -> None:
    assert create_backup(note="caf\udce9").note == "caf?"
