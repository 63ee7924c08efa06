"""Ctrl-C, SIGTERM and a job's time limit end a backup of SQLite at once, whatever SQLite is at."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.signals import connection_created

from django_cfg.backup import create_backup, restore_backup, verify_backup
from tests.support.django_project import Site
from tests.support.processes import is_running, wait_until

SOON = 3.0  # seconds; what is interrupted would go on for a minute


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


@contextmanager
def interrupted_when(condition: Callable[[], object]) -> Iterator[None]:
    """The block is interrupted as soon as *condition* is true, and ends soon after that."""
    sent: list[float] = []

    def send() -> None:
        wait_until(condition)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    ended = time.monotonic()
    sender.join()
    assert ended - sent[0] < SOON


@pytest.fixture
def dd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of this name that copies a little, and then takes its time; where it writes its number."""
    programs = tmp_path / "programs"
    programs.mkdir()
    began = tmp_path / "began"
    (programs / "dd").write_text(
        f'#!/bin/sh\nhead -c 5000 "${{1#if=}}" > "${{2#of=}}"; echo $$ > {began}.new; mv {began}.new {began}\n'
        "sleep 60\n"
    )
    (programs / "dd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return began


def test_the_program_that_copies_is_killed(site: Site, books: Path, dd: Path, place: Path) -> None:
    with interrupted_when(dd.exists):
        create_backup()
    assert not is_running(int(dd.read_text()))
    assert site.stored() == []
    assert list(place.iterdir()) == []
    site.sql("INSERT INTO author VALUES (1000, 'the lock is gone')")


class Slowness:
    """SQLite as slow as with a large database, on every connection that checks or rewrites a copy of ours.

    Not on those of the project: what happens there is not under test.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.pauses = 0

    def install(self, connection: Any, **facts: Any) -> None:
        if str(connection.settings_dict["NAME"]).startswith("file:"):
            connection.connection.set_progress_handler(self._pause, 10)

    def _pause(self) -> int:
        if self.is_on:
            self.pauses += 1
            time.sleep(0.01)
        return 0


@pytest.fixture
def slowness(site: Site, books: Path) -> Iterator[Slowness]:
    site.sql(
        "CREATE TABLE many (id integer PRIMARY KEY)",
        "INSERT INTO many WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        "SELECT i FROM n",
    )
    slowness = Slowness()
    connection_created.connect(slowness.install)
    yield slowness
    connection_created.disconnect(slowness.install)


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_the_check_of_the_copy_is_ended(site: Site, slowness: Slowness, place: Path, journal_mode: str) -> None:
    site.sql(f"PRAGMA journal_mode = {journal_mode}")
    slowness.is_on = True
    with interrupted_when(lambda: slowness.pauses > 20):
        create_backup()
    assert site.stored() == []
    assert list(place.iterdir()) == []


def test_writing_the_copy_again_is_ended(site: Site, slowness: Slowness, place: Path) -> None:
    """As it is when tables are left out."""
    site.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
    slowness.is_on = True
    with interrupted_when(lambda: slowness.pauses > 20):
        create_backup()
    assert site.stored() == []
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("act", [verify_backup, restore_backup])
def test_the_check_of_a_backup_is_ended(site: Site, slowness: Slowness, place: Path, act: Callable[[], object]) -> None:
    create_backup()
    site.sql("DELETE FROM book")
    slowness.is_on = True
    with interrupted_when(lambda: slowness.pauses > 20):
        act()
    assert list(place.iterdir()) == []
    assert site.sql("SELECT count(*) FROM book") == [(0,)]
    assert list(site.root.glob("*restor*")) == []
