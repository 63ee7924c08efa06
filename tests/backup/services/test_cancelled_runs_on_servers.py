"""Runs on database servers that a person cancels: they end within seconds, also where the server makes them wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from django_cfg.backup.errors import Cancelled
from django_cfg.backup.models import Run
from django_cfg.backup.services.creation.create import create_backup
from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.job import Job
from django_cfg.backup.services.jobs.perform import perform
from django_cfg.backup.services.restore.restore import restore_backup
from django_cfg.backup.services.runs.cancel import cancel_run
from tests.support.databases import Server, fail_unless_equal
from tests.support.mysql_databases import MySQLServer
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.processes import child_running, children, is_running, threads, wait_until

SOON = 8.0  # seconds, on a machine that is busy
A_THREAD_WAITS = 20  # seconds; until then the wish to cancel has been seen, on a machine that is busy
PATIENCE = 1.0  # seconds at each block

pytestmark = pytest.mark.usefixtures("frequent_looks")


@pytest.fixture
def postgresql_site(postgresql_server: PostgreSQLServer, temporary: Path) -> PostgreSQLServer:
    call_command("migrate", verbosity=0)
    return postgresql_server


@pytest.fixture
def mysql_site(mysql_server: MySQLServer, temporary: Path) -> MySQLServer:
    call_command("migrate", verbosity=0)
    return mysql_server


class Canceller:
    """Cancels the one run that is going on, by its row, as soon as *moment* has come."""

    def __init__(self, moment: Callable[[], object]) -> None:
        self._moment = moment
        self.at = 0.0
        self._thread = threading.Thread(target=self._cancel)

    def _cancel(self) -> None:
        try:
            wait_until(self._moment)
            row = wait_until(lambda: Run.objects.filter(state=Run.State.RUNNING).first())
            self.at = time.monotonic()
            assert row is not None
            assert cancel_run(row.pk, "ada")
        finally:
            connections.close_all()

    def __enter__(self) -> Canceller:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join()


def in_a_thread(action: Callable[[], object]) -> None:
    """Do it where no signal arrives; raise what it raised."""
    errors: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def here(action: Callable[[], object]) -> None:
    action()


WAYS = pytest.mark.parametrize("way", [here, in_a_thread], ids=["main thread", "another thread"])


def lock_timeout(way: Callable[..., None]) -> int:
    """A thread gets no signal: there the wait itself has to end, after the cancelling, however slow the machine is."""
    return A_THREAD_WAITS if way is in_a_thread else 60


def require_nothing_left(server: Server, temporary: Path, before: set[int], kind: str) -> None:
    # One that was ended while it was started is reaped with the next program.
    wait_until(lambda: not any(map(is_running, children() - before)))
    assert [path.name for path in temporary.iterdir()] == []
    row = Run.objects.filter(kind=kind).first()
    assert row is not None
    assert (row.state, row.lease, row.message) == ("cancelled", None, "Cancelled by ada.")


class TestBlockedBackup:
    """Another session holds a lock, so that the dump tool gets no byte."""

    @WAYS
    def test_postgresql(
        self, postgresql_site: PostgreSQLServer, temporary: Path, sent: list[str], way: Callable[..., None]
    ) -> None:
        postgresql_site.site.configure(lock_timeout=lock_timeout(way))
        before, threads_before = children(), threads()
        with (
            postgresql_site.locked("book"),
            Canceller(lambda: child_running("pg_dump")) as canceller,
            pytest.raises(Cancelled, match="was cancelled by ada"),
        ):
            way(create_backup)
        assert time.monotonic() - canceller.at < SOON + (A_THREAD_WAITS if way is in_a_thread else 0)
        require_nothing_left(postgresql_site, temporary, before, "backup")
        assert (postgresql_site.stored(), sent) == ([], [])
        wait_until(lambda: threads() <= threads_before)
        assert create_backup().name, "the next backup is made at once"

    @WAYS
    def test_mariadb(self, mysql_site: MySQLServer, temporary: Path, sent: list[str], way: Callable[..., None]) -> None:
        mysql_site.site.configure(lock_timeout=lock_timeout(way))
        before = children()
        with (
            mysql_site.locked("book"),
            Canceller(lambda: Run.objects.filter(state=Run.State.RUNNING).exists()) as canceller,
            pytest.raises(Cancelled, match="was cancelled by ada"),
        ):
            way(create_backup)
        assert time.monotonic() - canceller.at < SOON + (A_THREAD_WAITS if way is in_a_thread else 0)
        require_nothing_left(mysql_site, temporary, before, "backup")
        assert (mysql_site.stored(), sent) == ([], [])
        assert create_backup().name


class Cancelling:
    """Progress that cancels its run when bytes have flowed in the step *label*, and then takes its time.

    :param is_time: a further condition.
    """

    def __init__(self, label: str, pause: float, is_time: Callable[[], bool] = lambda: True) -> None:
        self._label, self._pause, self._is_time, self._is_there = label, pause, is_time, False
        self.cancelled_by = ""

    def say(self, text: str) -> None: ...

    def begin(self, label: str, total: int) -> None:
        self._is_there = self._label in label

    def advance(self, count: int) -> None:
        if self._is_there and not self.cancelled_by and self._has_come():
            self.cancelled_by = "ada"
            threading.Event().wait(self._pause)

    def _has_come(self) -> bool:
        """The server takes a while for what it was given before."""
        end = time.monotonic() + PATIENCE
        while not (has_come := self._is_time()) and time.monotonic() < end:
            time.sleep(0.05)
        return has_come

    def end(self) -> None: ...


def names_on(server: PostgreSQLServer) -> list[Any]:
    """Those of this test alone: the server is shared."""
    own = server.databases["default"]
    return server.server.sql(f"SELECT datname FROM pg_database WHERE starts_with(datname, '{own}') ORDER BY 1")


def text_of(server: Server) -> list[str]:
    """Everything but the history, which a restore writes."""
    return [line for line in server.text() if "django_cfg_backup" not in line]


class TestRestore:
    @pytest.mark.parametrize("in_place", [False, True], ids=["staging", "in place, one transaction"])
    @WAYS
    def test_postgresql_is_as_before(
        self,
        postgresql_server: PostgreSQLServer,
        temporary: Path,
        sent: list[str],
        way: Callable[..., None],
        in_place: bool,
    ) -> None:
        create_backup()
        postgresql_server.run("UPDATE book SET title = 'of today'")
        sent.clear()
        children_before, databases, text = children(), names_on(postgresql_server), postgresql_server.text()
        progress = Cancelling("reading", pause=3)
        begun = time.monotonic()
        with pytest.raises(Cancelled, match=r"The restore of .* was cancelled by ada"):
            way(lambda: restore_backup(in_place=in_place, disconnect=not in_place, progress=progress))
        assert time.monotonic() - begun < SOON + 3
        fail_unless_equal(text, postgresql_server.text())
        assert names_on(postgresql_server) == databases
        assert (sent, children() - children_before) == ([], set())
        assert [path.name for path in temporary.iterdir()] == []
        assert restore_backup(disconnect=True).old_data

    @WAYS
    def test_mariadb_is_as_before(
        self, mysql_server: MySQLServer, temporary: Path, sent: list[str], way: Callable[..., None]
    ) -> None:
        create_backup()
        mysql_server.run("UPDATE book SET title = 'of today'")
        sent.clear()
        schemas, text = mysql_server.schemas(), mysql_server.text()
        with pytest.raises(Cancelled, match="was cancelled by ada"):
            way(lambda: restore_backup(disconnect=True, progress=Cancelling("reading", pause=3)))
        fail_unless_equal(text, mysql_server.text())
        assert (mysql_server.schemas(), sent) == (schemas, [])
        assert [path.name for path in temporary.iterdir()] == []

    @WAYS
    def test_mariadb_in_place_is_not_cut_once_it_has_begun(
        self, mysql_server: MySQLServer, sent: list[str], way: Callable[..., None]
    ) -> None:
        """The target is neither old nor new then: the restore ends as it would."""
        mysql_server.run(mysql_server.many_books)
        mysql_server.site.configure(compression="none")  # several blocks
        text = mysql_server.text()
        create_backup()
        mysql_server.run("UPDATE book SET title = 'of today'")
        sent.clear()
        # From outside of the database, whose other sessions the restore ends.
        name = mysql_server.databases["default"]
        query = f"SELECT 1 FROM information_schema.tables WHERE table_schema = '{name}' AND table_name = 'book'"
        progress = Cancelling("reading", 1, lambda: not mysql_server.server.sql(query))
        way(lambda: restore_backup(in_place=True, disconnect=True, progress=progress))
        assert progress.cancelled_by
        fail_unless_equal(text, mysql_server.text())
        assert "restore_succeeded" in sent


class TestDrill:
    def test_postgresql(self, postgresql_site: PostgreSQLServer, temporary: Path, sent: list[str]) -> None:
        """It leaves no proof: nothing was learned of the backup."""
        postgresql_site.site.configure(
            databases=[{"alias": "default", "verification_queries": ["SELECT pg_sleep(20) IS NOT NULL"]}]
        )
        name = create_backup().name
        sent.clear()
        stored, databases = postgresql_site.stored(), names_on(postgresql_site)
        asked = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND pid <> pg_backend_pid()"
        job = Job(action="drill", by="ben", names=(name,))
        with Canceller(lambda: postgresql_site.server.sql(asked)) as canceller:
            ended = perform(job, FileBoard(job.id), "here")
        assert time.monotonic() - canceller.at < SOON
        assert (ended.phase, "was cancelled by ada" in ended.message) == ("cancelled", True)
        row = Run.objects.filter(kind="verification").get()
        assert (row.state, row.started_by, row.message) == ("cancelled", "ben", "Cancelled by ada.")
        assert (postgresql_site.stored(), names_on(postgresql_site), sent) == (stored, databases, [])
