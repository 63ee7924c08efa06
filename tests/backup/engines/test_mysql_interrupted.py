"""A restore in place that is ended by a signal: what it leaves is reported, and the way back works."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.process import child
from tests.support.databases import BOOKS
from tests.support.mysql_databases import MySQLServer
from tests.support.processes import in_parallel, wait_until


@pytest.fixture
def changed(mysql_server: MySQLServer) -> MySQLServer:
    """A backup was made, and rows deleted afterwards."""
    create_backup()
    mysql_server.run("DELETE FROM book WHERE id > 10")
    return mysql_server


@contextmanager
def signalled(number: signal.Signals) -> Iterator[None]:
    """Send it to this very process while the client loads; the client is suspended, so that it is in time."""
    start = child._started

    def standing_still(argv: Sequence[str], *rest: Any, **options: Any) -> Any:
        client = start(argv, *rest, **options)
        if Path(argv[0]).name == "mariadb":
            client.send_signal(signal.SIGSTOP)
        return client

    def send() -> None:
        wait_until(feeding)
        os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch, in_parallel(send):
        patch.setattr(child, "_started", standing_still)
        yield


def feeding() -> bool:
    """The main thread has made the client and is loading."""
    ident = threading.main_thread().ident or 0
    stack = [(Path(frame.filename).name, frame.name) for frame in traceback.extract_stack(sys._current_frames()[ident])]
    return ("dump_loader.py", "load") in stack and ("child.py", "__init__") not in stack


def bring_back(server: MySQLServer, message: str) -> None:
    assert "rolled back" not in message
    found = re.search(r"neither as it was nor restored.*backup_restore (\S+) --to default", message)
    assert found, message
    restore_backup(found[1], to="default")
    assert server.count("book") == 10


def test_ctrl_c(changed: MySQLServer) -> None:
    with signalled(signal.SIGINT):
        answer = changed.site.call("backup_restore", "--yes", "--in-place")
    assert answer.code == 130
    bring_back(changed, answer.stderr)


def test_sigterm(changed: MySQLServer) -> None:
    with signalled(signal.SIGTERM), pytest.raises(SystemExit) as ended:
        changed.site.call("backup_restore", "--yes", "--in-place")
    assert ended.value.code == 128 + signal.SIGTERM
    bring_back(changed, " ".join(getattr(ended.value, "__notes__", ())))


def test_without_a_backup_of_the_old_data(changed: MySQLServer) -> None:
    with signalled(signal.SIGINT):
        answer = changed.site.call("backup_restore", "--yes", "--in-place", "--discard-old")
    assert "neither as it was nor restored. There is no backup of what it held before" in answer.stderr
    restore_backup()
    assert changed.count("book") == BOOKS


def test_next_to_the_database_it_is_undone(changed: MySQLServer) -> None:
    with signalled(signal.SIGINT):
        answer = changed.site.call("backup_restore", "--yes")
    assert (answer.code, changed.count("book"), changed.schemas()) == (130, 10, set())
    assert "Unfinished work has been rolled back." in answer.stderr
