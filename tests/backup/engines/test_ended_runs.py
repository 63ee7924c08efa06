"""Backups and restores that are ended at random moments, by kill -9, SIGTERM or Ctrl-C, on each engine and storage.

Whatever the moment: no backup that is none, no target between two states, no later run that has to wait. ``KILLS`` is
the number of rounds of each series.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from django.core.management import call_command

from django_cfg.backup.services.project.project import current_project
from tests.support.databases import Server
from tests.support.django_project import Site
from tests.support.s3_server import S3Server
from tests.support.sqlite_databases import SQLiteServer

KILLS = int(os.environ.get("KILLS", "25"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LONGEST_WAIT = 30  # seconds that the next run may take


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
def server(vendor: Vendor, storage: str, request: pytest.FixtureRequest, site: Site) -> Server:
    """A database that also holds the history, with enough rows to be met in the middle."""
    server: Server = request.getfixturevalue(*vendor.fixtures) if vendor.fixtures else SQLiteServer(site, "wal")
    if storage == "s3":
        s3_server: S3Server = request.getfixturevalue("s3_server")
        server.site.always["storage"] = s3_server.config(s3_server.new_bucket())
    server.site.configure(databases=[{"alias": "empty", "enabled": False}])
    call_command("migrate", verbosity=0)
    server.run("CREATE TABLE filler (id integer PRIMARY KEY, t varchar(200))")
    for begin in range(0, 20_000, 1_000):
        values = ", ".join(f"({i}, '{'x' * 150}{i}')" for i in range(begin, begin + 1_000))
        server.run(f"INSERT INTO filler VALUES {values}")
    return server


def end(server: Server, arguments: list[str], number: int, after: float) -> None:
    """Run a command in a process group of its own, and send it a signal."""
    server.site.close()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS[1:])  # the copy of these tests ends here, whenever it is ended
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS[1:])
            try:
                server.site.call(*arguments)
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS[1:])  # if this is interrupted, the next line is not
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS[1:])
    time.sleep(after)
    with suppress(ProcessLookupError):
        os.killpg(pid, number) if number == signal.SIGKILL else os.kill(pid, number)
    os.waitpid(pid, 0)


def duration(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def back_up(server: Server) -> None:
    answer = server.site.call("backup_create", "default")
    assert answer.code == 0, answer.stderr


def restore_well(server: Server, arguments: list[str]) -> None:
    answer = server.site.call(*arguments)
    assert answer.code == 0, answer.stderr


def expect_true_backups(server: Server) -> None:
    answer = server.site.call("backup_verify", "--json")
    assert answer.code in (0, 5), answer.stderr
    storage = current_project().storage
    for found in list(storage.list()):
        storage.delete(found.key)


def test_backups(server: Server) -> None:
    usual = duration(lambda: back_up(server))
    moments = random.Random(17)
    longest = 0.0
    for number in range(KILLS):
        end(server, ["backup_create", "default"], SIGNALS[number % 3], moments.uniform(0, usual * 1.1))
        longest = max(longest, duration(lambda: back_up(server)))
        assert longest < LONGEST_WAIT, f"round {number}"
        expect_true_backups(server)
    print(f"{KILLS} backups ended; the next one took at most {longest:.1f} s, usually {usual:.1f} s")


def test_restores(server: Server) -> None:
    server.run("UPDATE book SET title = 'then'")
    back_up(server)
    restore = ["backup_restore", "latest", "--yes", "--discard-old", "--disconnect"]
    if isinstance(server, SQLiteServer):
        restore.remove("--disconnect")
    usual = duration(lambda: server.site.call(*restore))
    moments = random.Random(18)
    states = {"then": 0, "now": 0}
    longest = 0.0
    for number in range(KILLS):
        server.run("UPDATE book SET title = 'now'")
        end(server, restore, SIGNALS[number % 3], moments.uniform(0, usual * 1.1))
        if server.site.call("backup_status").stdout.count("--resume"):
            assert server.site.call("backup_restore", "--resume", "--to", "default", "--yes").code == 0
        ((title, titles, books),) = server.run("SELECT min(title), count(DISTINCT title), count(*) FROM book")
        assert (titles, books, server.count("filler")) == (1, 200, 20_000), f"round {number}"
        states[title] += 1
        server.run("UPDATE book SET title = 'later'")

        longest = max(longest, duration(lambda: restore_well(server, restore)))
        assert longest < LONGEST_WAIT, f"round {number}"
        assert server.run("SELECT count(*) FROM book WHERE title = 'then'") == [(200,)]
    print(f"{KILLS} restores ended: {states}; the next one took at most {longest:.1f} s, usually {usual:.1f} s")
