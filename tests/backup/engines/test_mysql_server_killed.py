"""The server itself dies in the middle of a restore: what it has when it is up again is one of two states."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.errors import BackupError, RestoreFailed
from django_cfg.backup.services.restore.resume import resume_restore
from tests.support.databases import fail_unless_equal
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_trial import CHANGE, FILL
from tests.support.processes import child_running, in_parallel, wait_until

SAFE = "SET GLOBAL innodb_flush_log_at_trx_commit = 1"  # the default of a server


@pytest.fixture
def changed(own_mysql_server: MySQLServer) -> MySQLServer:
    """A backup was made, and everything changed afterwards."""
    own_mysql_server.server.sql(SAFE)
    own_mysql_server.script(FILL)
    return own_mysql_server


def up_again(server: MySQLServer) -> None:
    server.site.close()
    server.server.stop(kill=True)
    server.server.start()
    server.server.sql(SAFE)


def test_while_it_loads(changed: MySQLServer) -> None:
    new = text(changed)
    create_backup()
    changed.script(CHANGE)
    old = text(changed)

    def die() -> None:
        wait_until(lambda: child_running("mariadb"))
        changed.server.stop(kill=True)

    with in_parallel(die), pytest.raises(BackupError):
        restore_backup()
    up_again(changed)
    fail_unless_equal(old, text(changed))
    restore_backup()
    fail_unless_equal(new, text(changed))
    assert all("__restore_old_" in name for name in changed.schemas())


@pytest.mark.parametrize("at", ["RENAME TABLE", "ALTER DATABASE", "LOCK TABLES"])
def test_at_the_switch(changed: MySQLServer, at: str) -> None:
    """Before all tables move, and after that: it is reported, and --resume makes it the backup."""
    new = text(changed)
    create_backup()
    changed.script(CHANGE)
    with dying_before(changed, at), pytest.raises(RestoreFailed, match=r"interrupted.*--resume --to default"):
        restore_backup()
    up_again(changed)
    resume_restore("default")
    fail_unless_equal(new, text(changed))


def text(server: MySQLServer) -> list[str]:
    """Of the database, but for the next numbers: a server that died may have forgotten those it had in reserve."""
    return [re.sub(r" AUTO_INCREMENT=\d+", "", line) for line in server.text()]


@contextmanager
def dying_before(server: MySQLServer, statement: str) -> Iterator[None]:
    """A block in which the server dies as the first *statement* of the switch is on its way."""
    run = Session._run
    left = itertools.count()

    def deadly(session: Session, query: str | bytes, values: Any) -> None:
        if str(query).startswith(statement) and switching(server) and next(left) == 0:
            server.server.stop(kill=True)
        run(session, query, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_run", deadly)
        yield


def switching(server: MySQLServer) -> bool:
    return server.server.is_running() and any("__restore_old_" in name for name in server.schemas())
