"""What bad input and bad luck get where there is a server: a clear error, nothing published, the target untouched."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.errors import (
    BackupError,
    DatabaseUnavailable,
    DumpFailed,
    RestoreFailed,
    RestoreRefused,
    TablesDiffer,
    ToolNotFound,
    VerificationFailed,
)
from tests.support.databases import BOOKS, DatabaseServer, fail_unless_equal
from tests.support.django_project import Site
from tests.support.processes import child_running, children, command_line, in_parallel, suspended, wait_until
from tests.support.restore_receiver import received

LOCKED = "Another transaction, often a migration, holds a lock"


def fail_to_back_up(server: DatabaseServer, kind: type[BackupError], message: str) -> None:
    """A backup fails with *message*, names the database and leaves nothing in the storage."""
    with pytest.raises(kind, match=f"(?s){message}") as failure:
        create_backup()
    assert type(failure.value) is kind
    assert "'default'" in str(failure.value)
    assert server.stored() == []


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def deaf() -> Iterator[int]:
    """The port of a server whose queue is full: no connection is taken from it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as stack:
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def kill(program: str) -> None:
    """Kill our child that runs *program* on a database, as soon as there is one."""
    os.kill(wait_until(lambda: child_running(program)), signal.SIGKILL)


class FailuresContract:
    """Nothing stays of what has failed: no child, no file. The base of both contracts."""

    @pytest.fixture(autouse=True)
    def nothing_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        before = children()
        folder = tmp_path / "tmp"
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield
        assert children() <= before
        assert list(folder.iterdir()) == []

    @pytest.fixture
    def server(self, site: Site) -> DatabaseServer:
        raise NotImplementedError

    @pytest.fixture
    def fragile(self, site: Site) -> DatabaseServer:
        """A server that the test may stop."""
        raise NotImplementedError


class BackupFailuresContract(FailuresContract):
    """Of a backup. Inherit, and define the fixtures ``server`` and ``fragile`` and what has no value here."""

    wrong_password: str  # what is said; and so on
    absent_database: str
    missing_program: str
    stopped_server: str
    unanswered: str
    no_privilege: str
    schema: ModuleType  # the engine's, which counts rows
    programs: Mapping[str, Callable[[], object]]  # program: what runs it, until a lock on book ends it

    def without_tls(self) -> Iterable[tuple[Mapping[str, Any], str]]:
        """OPTIONS that ask the server, which has no TLS, for it; and what is said."""
        raise NotImplementedError

    def reader_of_author(self, server: DatabaseServer) -> Mapping[str, Any]:
        """Make a user who may read only author; what makes it the project's."""
        raise NotImplementedError

    def visible(self, pid: int) -> str:
        """What others could read of a process."""
        return command_line(pid)

    # --- nothing to connect to

    def test_wrong_password(self, server: DatabaseServer) -> None:
        server.use(PASSWORD="wr0ng-Secret")
        fail_to_back_up(server, DatabaseUnavailable, f"{self.wrong_password}.*Correct USER and PASSWORD")
        answer = server.site.call("backup_create")
        assert answer.code == 1
        assert "wr0ng-Secret" not in answer.stdout + answer.stderr

    def test_server_down(self, fragile: DatabaseServer) -> None:
        fragile.server.stop()
        fail_to_back_up(fragile, DatabaseUnavailable, "refused.*start (it|the server), or correct HOST and PORT")

    def test_database_absent(self, server: DatabaseServer) -> None:
        server.use(NAME="absent")
        fail_to_back_up(server, DatabaseUnavailable, f"{self.absent_database}.*Check NAME")

    @pytest.mark.parametrize("listening", [silent, deaf])
    def test_a_server_that_never_answers(
        self, server: DatabaseServer, listening: Callable[[], AbstractContextManager[int]]
    ) -> None:
        """It is given up after seconds, not after the minutes that the system would wait."""
        begun = time.monotonic()
        with listening() as port:
            settings, name = server.server.settings, server.databases["default"]
            unanswered = settings(name, PORT=port, OPTIONS={"connect_timeout": 2})
            server.site.use_databases(default=settings(name), another=unanswered)
            with pytest.raises(DatabaseUnavailable, match=f"(?s)'another'.*{self.unanswered}.*can be reached"):
                create_backup("another")
        assert server.stored() == []
        assert time.monotonic() - begun < 60

    def test_tls_refused(self, server: DatabaseServer) -> None:
        for options, message in self.without_tls():
            server.use(OPTIONS=options)
            fail_to_back_up(server, DatabaseUnavailable, message)

    def test_tools_dir_without_tools(self, server: DatabaseServer, tmp_path: Path) -> None:
        server.site.configure(tools_dir=str(tmp_path))
        fail_to_back_up(server, ToolNotFound, f"tools_dir.*{self.missing_program}")

    # --- during a dump

    def test_table_locked_by_a_migration(self, server: DatabaseServer) -> None:
        server.site.configure(lock_timeout=1)
        with server.locked("book"):
            fail_to_back_up(server, DumpFailed, f"{LOCKED}.*lock_timeout")

    def test_table_locked_while_the_selection_is_examined(self, server: DatabaseServer) -> None:
        server.site.configure(lock_timeout=1, databases=[{"alias": "default", "exclude_tables": ["author"]}])
        with server.locked("book"):
            fail_to_back_up(server, DumpFailed, LOCKED)

    def test_no_permission_on_one_table(self, server: DatabaseServer) -> None:
        """A user who sees only some tables would make a smaller backup, not a failing one."""
        server.use(**self.reader_of_author(server))
        fail_to_back_up(server, DatabaseUnavailable, self.no_privilege)

    def test_the_program_killed(self, server: DatabaseServer) -> None:
        with server.locked("book"), in_parallel(partial(kill, server.dump_program)):
            fail_to_back_up(server, DumpFailed, f"{server.dump_program} was killed by signal 9.*memory")

    def test_a_counting_that_has_not_begun_yet_is_not_waited_for(
        self, server: DatabaseServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The program is gone when the counting comes to a table that another session holds."""
        count, killed = self.schema.count_rows, threading.Event()

        def count_later(*arguments: Any, **options: Any) -> Any:
            assert killed.wait(20)
            time.sleep(2)  # the end of the program has been noticed, and the counting asked to end
            return count(*arguments, **options)

        def kill_it() -> None:
            kill(server.dump_program)
            killed.set()

        monkeypatch.setattr(self.schema, "count_rows", count_later)
        server.site.configure(lock_timeout=600)
        begun = time.monotonic()
        with server.locked("book"), in_parallel(kill_it):
            fail_to_back_up(server, DumpFailed, f"{server.dump_program} was killed by signal 9")
        assert killed.is_set()
        assert time.monotonic() - begun < 300, "it waited for the lock"

    def test_server_stopped_in_mid_dump(self, fragile: DatabaseServer) -> None:
        fragile.run(fragile.many_books)

        def stop() -> None:
            with suspended(wait_until(lambda: child_running(fragile.dump_program))):
                fragile.kill()

        with in_parallel(stop):
            fail_to_back_up(fragile, DumpFailed, self.stopped_server)

    # --- secrets

    def test_no_password_is_seen(self, server: DatabaseServer) -> None:
        """Neither in what others see of any child, nor in a message, of a backup and of a restore."""
        secret = "t0p s3cret'\"\\ $;#"
        server.use(USER=server.superuser("hidden", secret), PASSWORD=secret)
        server.run(server.many_books)
        before, seen = children(), dict[str, str]()

        def watch(program: str) -> None:
            wait_until(lambda: child_running(program))
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                for pid in children() - before:
                    name = Path(command_line(pid).partition("\0")[0]).name
                    seen[name] = seen.get(name, "") + self.visible(pid)

        create_backup()
        server.site.configure(lock_timeout=1)
        for program, action in self.programs.items():
            watching = in_parallel(partial(watch, program))
            with server.locked("book"), watching, pytest.raises(BackupError) as failure:
                action()
            assert "s3cret" not in str(failure.value)
        assert set(self.programs) <= set(seen)
        assert not [name for name, text in seen.items() if "s3cret" in text]


class RestoreFailuresContract(FailuresContract):
    """Of a restore. Inherit likewise. Its options: ``options``."""

    options: Mapping[str, Any] = {}
    prepared: Sequence[str] = ()  # statements: what the backup holds besides
    changes: Sequence[str] = ()  # statements: what was changed afterwards, besides
    program: str  # that loads
    vendor: str
    differs: type[BackupError] = TablesDiffer
    memory = ""  # what is said besides of a program that was killed
    refused: str  # what the server says to what `make_unloadable` has made
    lock_message: str
    another_restore = "Another restore of the database 'default' is running"

    @pytest.fixture
    def changed(self, server: DatabaseServer) -> DatabaseServer:
        """A backup was made, and the database changed afterwards."""
        server.run(*self.prepared)
        create_backup()
        server.run("DELETE FROM book WHERE id > 10", "CREATE TABLE later (i int)", *self.changes)
        return server

    def make_unloadable(self, server: DatabaseServer) -> None:
        """Make a backup that holds something which the server refuses."""
        raise NotImplementedError

    def held(self, server: DatabaseServer) -> AbstractContextManager[Any]:
        """A block during which another session is in the way of a restore."""
        raise NotImplementedError

    def restore(self) -> object:
        return restore_backup(**self.options)

    def fail_to_restore(self, server: DatabaseServer, kind: type[BackupError], message: str) -> None:
        """A restore fails with *message*, the database is as it was, and nothing is left next to it."""
        before = server.text()
        with pytest.raises(kind, match=f"(?s){message}") as failure:
            self.restore()
        assert type(failure.value) is kind
        fail_unless_equal(before, server.text())
        assert server.leftovers() == []

    def rewrite_manifest(self, server: DatabaseServer, old: str, new: str) -> None:
        (path,) = server.site.backups.glob("*.json")
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def test_a_wrong_count(self, changed: DatabaseServer) -> None:
        self.rewrite_manifest(changed, f'"rows": {BOOKS}', f'"rows": {BOOKS + 1}')
        self.fail_to_restore(changed, self.differs, "book has 200 rows instead of 201")

    def test_a_table_is_missing(self, changed: DatabaseServer) -> None:
        self.rewrite_manifest(changed, 'author"', 'authors"')
        self.fail_to_restore(changed, self.differs, r"(?=.*authors is missing).*\bauthor is not in the manifest")

    @pytest.mark.parametrize("compression", ["none", "gzip"])
    def test_a_damaged_archive(self, server: DatabaseServer, compression: str) -> None:
        """One bit at three quarters: the restore is under way when it is met."""
        server.run(server.many_books)
        server.site.configure(compression=compression)
        manifest = create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        path = server.site.backups / manifest.archive_key
        data = bytearray(path.read_bytes())
        data[len(data) * 3 // 4] ^= 4
        path.write_bytes(data)
        with pytest.raises(VerificationFailed):
            verify_backup()
        self.fail_to_restore(server, VerificationFailed, "damaged")

    @pytest.mark.parametrize("vendor", ["mysql", "postgresql", "sqlite"])
    def test_a_backup_of_another_kind(self, changed: DatabaseServer, vendor: str) -> None:
        """MySQL and MariaDB too have grown apart: each goes back onto its own kind."""
        if vendor == self.vendor:
            vendor = "mariadb"
        self.rewrite_manifest(changed, f'"vendor": "{self.vendor}"', f'"vendor": "{vendor}"')
        self.fail_to_restore(changed, RestoreRefused, "its own kind")

    def test_the_program_killed(self, changed: DatabaseServer) -> None:
        changed.run(changed.many_books)
        create_backup()
        with in_parallel(partial(kill, self.program)):
            self.fail_to_restore(
                changed, RestoreFailed, f"(?=.*as it was).*{self.program} was killed by signal 9.*{self.memory}"
            )

    def test_what_the_server_refuses_is_named(self, changed: DatabaseServer) -> None:
        self.make_unloadable(changed)
        self.fail_to_restore(changed, RestoreFailed, f"'default'(?=.*as it was).*{self.refused}")

    def test_another_session_is_in_the_way(self, changed: DatabaseServer) -> None:
        """It is named, or the lock that was waited for; without it the restore succeeds."""
        changed.site.configure(lock_timeout=1)
        with self.held(changed):
            self.fail_to_restore(changed, RestoreFailed, f"'default'.*{self.lock_message}")
        self.restore()
        assert changed.count("book") == BOOKS

    def test_a_second_restore_at_the_same_time(
        self, changed: DatabaseServer, another_machine: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """It fails, and does not take the first one's data for what a killed restore has left."""
        changed.site.configure(lock_timeout=1)
        before: list[list[str]] = []

        def restore_too(**facts: object) -> None:
            before.append(changed.leftovers())
            with another_machine(), pytest.raises(BackupError, match=self.another_restore):
                self.restore()
            before.append(changed.leftovers())

        with received(restore_too):
            self.restore()
        assert len(before) == 2
        assert before[0] == before[1]
        assert changed.count("book") == BOOKS

    def test_old_data_is_discarded_when_asked(self, changed: DatabaseServer) -> None:
        options = ["--in-place"] if self.options.get("in_place") else []
        answer = changed.site.call("backup_restore", "--yes", "--discard-old", *options)
        assert answer.code == 0, answer.stderr
        assert changed.leftovers() == []
        assert changed.count("book") == BOOKS
