"""The history: written if possible, required by nothing."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django import db
from django.db import router

from django_cfg.backup import create_backup, list_backups, restore_backup, verify_backup
from django_cfg.backup.engines.sqlite.engine import SQLiteEngine
from django_cfg.backup.errors import BackupError
from django_cfg.backup.models import Run
from django_cfg.backup.services.creation.batch import create_backups
from django_cfg.backup.services.runs import history_database
from tests.support.django_project import Site
from tests.support.unprivileged import Unprivileged

SQLITE = "django.db.backends.sqlite3"
RUNS = "django_cfg_backup_run"


def runs(site: Site, columns: str = "state") -> list[Any]:
    """The backups of the history, oldest first."""
    return site.sql(f"SELECT {columns} FROM {RUNS} WHERE kind = 'backup' ORDER BY id")


class TestRows:
    def test_a_backup_is_a_run_that_succeeded(self, site: Site, books: Path) -> None:
        manifest = site.create()
        ((project, env, database, state, trigger, name, size, message),) = runs(
            site, "project, env, database, state, trigger, name, size, message"
        )
        assert (project, env, database) == ("tests", "test", "default")
        assert (state, trigger, message) == ("succeeded", "manual", "")
        assert (name, size) == (manifest.name, manifest.archive.size)
        (run,) = Run.objects.all()
        assert run.host == manifest.host
        assert run.started_at <= manifest.started_at <= manifest.finished_at <= run.finished_at

    def test_a_failure_is_a_run_that_failed_and_why(self, site: Site) -> None:
        site.configure(databases=[{"alias": "default", "exclude_tables": ["nosuch"]}])
        with pytest.raises(BackupError) as caught:
            site.create()
        assert runs(site, "state, message, size") == [("failed", str(caught.value), None)]

    def test_an_interruption_is_a_run_that_failed(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C has no message, so its name is recorded."""

        def interrupt(*args: object, **kwargs: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("django_cfg.backup.services.creation.store.pack", interrupt)
        with pytest.raises(KeyboardInterrupt):
            site.create()
        assert runs(site, "state, message") == [("failed", "KeyboardInterrupt")]

    def test_the_dump_holds_the_row_of_its_own_run_as_running(self, site: Site) -> None:
        """With the name of the backup, by which it is found in storage after a restore."""
        manifest = site.create()
        assert site.call("backup_download", "latest", "--to", str(site.root / "out"), "--plain").code == 0
        (copy,) = (site.root / "out").iterdir()
        assert site.sql(f"SELECT state, name FROM {RUNS}", database=copy) == [("running", manifest.name)]


class TestWithoutHistory:
    """The database of the history is unmigrated, missing, garbage or locked; the one of the shop is well."""

    @pytest.fixture(params=["unmigrated", "missing", "no folder", "empty", "garbage", "folder", "locked", "no driver"])
    def _bad_default(
        self, site: Site, books: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        monkeypatch.setattr(history_database, "_PAUSES", (0.01,))
        bad = site.root / "bad.sqlite3"
        with ExitStack() as held:
            if request.param == "no folder":
                bad = site.root / "nosuch" / "bad.sqlite3"
            if request.param in ("unmigrated", "locked"):
                site.sql("CREATE TABLE other (id integer)", database=bad)
            if request.param == "empty":
                bad.touch()
            if request.param == "garbage":
                bad.write_bytes(b"this is no database, and it is long enough to be looked at " * 100)
            if request.param == "folder":
                bad.mkdir()
            if request.param == "locked":
                connection = held.enter_context(closing(sqlite3.connect(bad)))
                connection.execute("BEGIN EXCLUSIVE")
            sqlite = {"ENGINE": "django.db.backends.sqlite3"}
            kept_in = {**sqlite, "NAME": str(bad), "OPTIONS": {"timeout": 0.05}}
            if request.param == "no driver":
                kept_in = {"ENGINE": "django.db.backends.oracle", "NAME": "history"}
            site.use_databases(
                default=kept_in,
                shop={**sqlite, "NAME": str(books)},
            )
            self.bad, self.before = bad, state(bad)
            yield

    @pytest.mark.usefixtures("_bad_default")
    def test_everything_works(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """Create, list, verify, restore; a warning says that the history was not written."""
        manifest = create_backup("shop")
        assert [found.name for found in list_backups()] == [manifest.name]
        assert verify_backup(manifest.name) == manifest
        site.sql("DELETE FROM book")
        restore_backup(manifest.name)
        assert site.sql("SELECT count(*) FROM book") == [(200,)]
        backup, restore = caplog.records
        for record in (backup, restore):
            assert record.levelno == logging.WARNING
            assert "history of this run" in record.message

    @pytest.mark.usefixtures("_bad_default")
    def test_the_unusable_database_stays_unchanged(self) -> None:
        """Above all a missing one is not created: the next migrate would use it."""
        create_backup("shop")
        assert state(self.bad) == self.before

    @pytest.mark.usefixtures("_bad_default")
    @pytest.mark.parametrize("command", ["backup_list", "backup_show", "backup_verify", "backup_restore"])
    def test_every_command_works(self, site: Site, command: str) -> None:
        name = create_backup("shop").name
        arguments = {"backup_show": [name], "backup_restore": [name, "--yes"]}.get(command, [])
        assert site.call(command, *arguments).code == 0


def state(path: Path) -> object:
    """Return everything about a file or folder that must stay unchanged."""
    if not path.exists():
        return None
    return path.read_bytes() if path.is_file() else "folder"


def test_an_unreadable_history_folder_is_no_obstacle(
    site: Site, books: Path, open_folder: Path, unprivileged: Unprivileged
) -> None:
    """Only its folder is inaccessible; the shop's database and the storage are accessible."""
    closed = open_folder / "closed"
    closed.mkdir()
    shop = Path(shutil.copy(books, open_folder / "shop.sqlite3"))
    shop.chmod(0o666)
    site.use_databases(
        default={"ENGINE": SQLITE, "NAME": str(closed / "db")}, shop={"ENGINE": SQLITE, "NAME": str(shop)}
    )
    site.configure(storage={"local_path": str(open_folder / "backups")})
    closed.chmod(0o000)
    with unprivileged():
        manifest = create_backup("shop")
        assert list_backups() == [manifest]


class TestFailingWrites:
    @pytest.mark.parametrize("error", ["OperationalError", "DataError", "IntegrityError", "InterfaceError"])
    def test_a_failing_write_never_fails_a_backup(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: str
    ) -> None:
        """Whatever the driver raises: a closed connection is an InterfaceError, which is no DatabaseError."""

        def refuse(*args: object, **kwargs: object) -> None:
            raise getattr(db, error)("the disk is on fire")

        monkeypatch.setattr(Run, "save", refuse)
        assert site.create().name in {manifest.name for manifest in list_backups()}
        assert "the disk is on fire" in caplog.text

    def test_the_error_of_a_backup_is_raised_even_if_its_history_fails_too(
        self, site: Site, books: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The first error counts."""
        site.sql(f"DROP TABLE {RUNS}")
        site.configure(databases=[{"alias": "default", "exclude_tables": ["nosuch"]}])
        with pytest.raises(BackupError, match="nosuch"):
            site.create()
        assert "Could not write the history" in caplog.text

    def test_a_failed_database_does_not_stop_the_next(self, site: Site, books: Path) -> None:
        """Not even without the history."""
        site.sql(f"DROP TABLE {RUNS}")
        sqlite = {"ENGINE": "django.db.backends.sqlite3"}
        site.use_databases(
            default={**sqlite, "NAME": str(books)}, gone={**sqlite, "NAME": str(site.root / "gone.sqlite3")}
        )
        results = list(create_backups())
        assert [type(result).__name__ for result in results] == ["Manifest", "Failure"]


class TestReconciling:
    def test_the_restored_row_of_the_backups_own_run_has_succeeded(self, site: Site, books: Path) -> None:
        """In the dump it was running; the storage shows that it succeeded."""
        manifest = site.create()
        restore_backup(manifest.name)
        assert runs(site, "state, name, size, message") == [("succeeded", manifest.name, manifest.archive.size, "")]
        (run,) = Run.objects.filter(kind="backup")
        assert run.finished_at == manifest.finished_at

    def test_a_run_without_a_backup_in_storage_has_failed(self, site: Site, books: Path) -> None:
        """No process is going to finish it."""
        Run.objects.create(project="tests", env="test", database="logs", name="logs_1")
        manifest = site.create()
        restore_backup(manifest.name)
        assert runs(site, "name, state") == [("logs_1", "failed"), (manifest.name, "succeeded")]
        assert "no backup of this name is stored" in runs(site, "message")[0][0]

    def test_finished_rows_stay_unchanged(self, site: Site, books: Path) -> None:
        first = site.create()
        second = site.create()
        before = runs(site, "*")[0]
        restore_backup(second.name)
        assert runs(site, "*")[0] == before
        assert runs(site, "name") == [(first.name,), (second.name,)]

    def test_restoring_another_database_leaves_the_history_unchanged(self, site: Site, books: Path) -> None:
        """A restore of the shop says nothing about active runs."""
        Run.objects.create(project="tests", env="test", database="logs", name="logs_1")
        sqlite = {"ENGINE": "django.db.backends.sqlite3"}
        shop = site.root / "shop.sqlite3"
        site.sql("CREATE TABLE book (id integer)", database=shop)
        site.use_databases(default={**sqlite, "NAME": str(books)}, shop={**sqlite, "NAME": str(shop)})
        restore_backup(create_backup("shop").name)
        assert runs(site, "name, state")[0] == ("logs_1", "running")

    @pytest.mark.parametrize(
        ("tables", "left"),
        [
            (["book"], {("succeeded", ""), ("running", "logs_1"), ("queued", "logs_2")}),
            (["book", "*_backup_run"], {("succeeded", "")}),
        ],
    )
    def test_restoring_other_tables_leaves_the_history_unchanged(
        self, site: Site, books: Path, tables: list[str], left: set[Any]
    ) -> None:
        """Its claims and running rows are current, unless its own table was restored."""
        manifest = site.create()
        for name, state in (("logs_1", "running"), ("logs_2", "queued")):
            Run.objects.create(project="tests", env="test", database="logs", name=name, state=state)
        restore_backup(manifest.name, tables=tables)
        assert {(state, name.replace(manifest.name, "")) for state, name in runs(site, "state, name")} == left

    def test_a_database_router_chooses_the_database_of_the_history(
        self, site: Site, books: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For example a separate database."""
        sqlite = {"ENGINE": "django.db.backends.sqlite3"}
        default = site.root / "default.sqlite3"
        site.sql("CREATE TABLE book (id integer)", database=default)
        site.use_databases(default={**sqlite, "NAME": str(default)}, history={**sqlite, "NAME": str(books)})
        monkeypatch.setattr(router, "routers", [HistoryRouter()])
        assert history_database.history_alias() == "history"
        create_backup("default")
        assert runs(site, "database, state") == [("default", "succeeded")]


class HistoryRouter:
    """Keeps the history in a separate database."""

    def db_for_read(self, model: type, **hints: object) -> str | None:
        return "history" if model is Run else None

    db_for_write = db_for_read


def test_a_history_on_an_unsupported_engine_does_not_fail_a_restore(site: Site, books: Path) -> None:
    """The switch has happened: no later step may report a failure."""
    live = {"ENGINE": SQLITE, "NAME": str(books)}
    site.use_databases(default={"ENGINE": SQLITE, "NAME": ":memory:"}, shop=live)
    name = site.create("shop").name
    site.sql("DELETE FROM book")
    assert restore_backup(name).old_data
    assert site.sql("SELECT count(*) FROM book") == [(200,)]
    db.connections["default"].connection.close()  # Django keeps a database in memory open


@pytest.mark.parametrize("name", ["\udcff", "\0"])
def test_an_error_that_no_database_can_store(
    site: Site, books: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A library's, about a file whose name is no text."""

    def fail(*arguments: object, **options: object) -> NoReturn:
        raise OSError(f"cannot read {name!s}")

    monkeypatch.setattr(SQLiteEngine, "dump", fail)
    with pytest.raises(OSError, match="cannot read"):
        create_backup()
    row = Run.objects.get()
    assert (row.state, row.lease) == ("failed", None)
    assert row.message.startswith("cannot read \\")


def test_a_secret_with_a_character_that_is_escaped_is_not_shown(
    site: Site, books: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sesame\topen-it"
    site.use_databases(default={"ENGINE": SQLITE, "NAME": str(books), "PASSWORD": secret})

    def fail(*arguments: object, **options: object) -> NoReturn:
        raise OSError(f"login failed with {secret}")

    monkeypatch.setattr(SQLiteEngine, "dump", fail)
    with pytest.raises(OSError, match="login failed"):
        create_backup()
    assert Run.objects.get().message == "login failed with ***"
