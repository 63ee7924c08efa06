"""Backups and restores that are ended at random moments, by kill -9, SIGTERM or Ctrl-C, on each engine and storage.

Whatever the moment: no backup that is none, no target between two states, no later run that has to wait. ``KILLS`` is
the number of rounds of each series.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.support.databases import Server
from tests.support.django_project import Answer, Site
from tests.support.s3_server import S3Server
from tests.support.sqlite_databases import SQLiteServer

KILLS = int(os.environ.get("KILLS", "25"))
SEED = os.environ.get("SEED", "17")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LONGEST_WAIT = 30  # seconds that the next run may take
TABLES = ("author", "book", "filler")
RESTORE = ("backup_restore", "latest", "--yes", "--discard-old")


@dataclass(frozen=True)
class Vendor:
    """Which fixture gives its database; what the tiers go by."""

    fixtures: tuple[str, ...] = ()


VENDORS = {
    "sqlite": Vendor(),
    "postgresql": Vendor(("postgresql_server",)),
    "mariadb": Vendor(("mysql_server",)),
}
pytestmark = [
    pytest.mark.long,
    pytest.mark.parametrize("storage", ["local", "s3"]),
    pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS),
]


@pytest.fixture
def server(
    vendor: Vendor, storage: str, request: pytest.FixtureRequest, site: Site, temporary: Path
) -> Iterator[Server]:
    """A database that also holds the history, with enough rows to be met in the middle."""
    server: Server = request.getfixturevalue(*vendor.fixtures) if vendor.fixtures else SQLiteServer(site, "wal")
    if storage == "s3":
        s3_server: S3Server = request.getfixturevalue("s3_server")
        server.site.always["storage"] = s3_server.config(s3_server.new_bucket())
    retention = {"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0}
    server.site.configure(databases=[{"alias": "empty", "enabled": False}], retention=retention)
    call_command("migrate", verbosity=0)
    server.run("CREATE TABLE filler (id integer PRIMARY KEY, t varchar(200))")
    for begin in range(0, 20_000, 1_000):
        values = ", ".join(f"({i}, '{'x' * 150}{i}')" for i in range(begin, begin + 1_000))
        server.run(f"INSERT INTO filler VALUES {values}")
    yield server
    assert [path.name for path in temporary.iterdir() if path.is_dir()] == []


class Process:
    """A command in a process of its own; one that is forked from a process that has used S3 could not use it."""

    def __init__(self, server: Server, *arguments: str) -> None:
        server.site.close()
        self._answer = server.site.root / "answer"
        self._answer.unlink(missing_ok=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS[1:])  # the copy of these tests ends here, whenever it is ended
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._act(server.site, arguments)
            finally:
                os._exit(0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS[1:])

    def _act(self, site: Site, arguments: tuple[str, ...]) -> None:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS[1:])
        try:
            answer = site.call(*arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS[1:])  # if this is interrupted, the next line is not
        self._answer.write_text(json.dumps(asdict(answer)))

    def end(self, number: int) -> None:
        """Send a signal to all of its group."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid, number)

    def wait(self) -> Answer | None:
        """Return what it answered; None: it was ended before."""
        os.waitpid(self._pid, 0)
        return Answer(**json.loads(self._answer.read_text())) if self._answer.exists() else None


def run(server: Server, *arguments: str) -> str:
    """Run a command that nothing ends, and return its output."""
    answer = Process(server, *arguments).wait()
    assert answer
    assert answer.code == 0, answer.stderr
    return answer.stdout


def duration(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


class Series:
    """Runs of one command, each ended at a random moment."""

    def __init__(self, server: Server, *arguments: str) -> None:
        self.server, self.arguments = server, arguments
        self.usual = max(duration(lambda: run(server, *arguments)) for _ in range(2))
        self.longest = 0.0
        self.met = 0  # those that had not ended yet
        self.resumed = 0  # switches that the next run found cut short
        self._random = random.Random(f"{SEED} {arguments[0]}")

    def end_one(self, number: int) -> None:
        process = Process(self.server, *self.arguments)
        time.sleep(self._random.uniform(0, self.usual * 1.1))
        process.end(SIGNALS[number % 3])
        answer = process.wait()
        self.met += answer is None or answer.code != 0

    def run_next(self, number: int) -> None:
        self.longest = max(self.longest, duration(self._resume_and_run))
        assert self.longest < LONGEST_WAIT, f"round {number}"

    def _resume_and_run(self) -> None:
        """Of a switch that was cut short the next restore says so, at once, and how it is finished."""
        answer = Process(self.server, *self.arguments).wait()
        assert answer
        if answer.code != 0:
            assert "Finish it: manage.py backup_restore --resume --to default" in answer.stderr
            run(self.server, "backup_restore", "--resume", "--to", "default", "--yes")
            self.resumed += 1
            run(self.server, *self.arguments)

    def report(self, request: pytest.FixtureRequest, more: str = "") -> None:
        """Print a row of a table, as scripts/kill-series does."""
        assert self.met > KILLS / 3, "most had ended before"
        cells = (self.arguments[0], request.node.callspec.id, KILLS, self.met, f"{self.longest:.1f} s")
        print("\n|", *(f"{cell} |" for cell in cells), f"{self.usual:.1f} s |{more}")


def content(server: Server) -> dict[str, tuple[int, str]]:
    """The number of rows of each table, and their SHA-256."""
    found = {name: server.run(f"SELECT * FROM {name} ORDER BY id") for name in TABLES}
    return {name: (len(rows), sha256(repr(rows).encode()).hexdigest()) for name, rows in found.items()}


def test_backups(server: Server, request: pytest.FixtureRequest) -> None:
    series = Series(server, "backup_create", "default")
    for number in range(KILLS):
        series.end_one(number)
        verified = json.loads(run(server, "backup_verify", "--json"))
        assert verified, f"round {number}"
        assert not [found["error"] for found in verified if found["error"]], f"round {number}"
        series.run_next(number)
    series.report(request)


def test_restores(server: Server, request: pytest.FixtureRequest) -> None:
    then = content(server)
    run(server, "backup_create", "default")
    series = Series(server, *RESTORE, *([] if isinstance(server, SQLiteServer) else ["--disconnect"]))
    restored = 0
    for number in range(KILLS):
        server.run("UPDATE book SET title = 'now'", f"UPDATE filler SET t = 'now' WHERE id < {number * 9}")
        now = content(server)
        series.end_one(number)
        found = content(server)
        assert found in (then, now), f"round {number}"
        restored += found == then
        server.run("DELETE FROM book WHERE id > 100")
        series.run_next(number)
        assert content(server) == then, f"round {number}"
    series.report(request, f" restored: {restored}, resumed: {series.resumed} |")
