"""Restores that are killed, and what is found of the database then."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql import switch
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.staging_schemas import MARKER
from django_cfg.backup.errors import DatabaseUnavailable, RestoreRefused
from django_cfg.backup.services.restore.resume import resume_restore
from tests.support.databases import fail_unless_equal
from tests.support.mysql_databases import MySQLServer
from tests.support.processes import wait_until

FILL = """
CREATE TABLE kept (i int); CREATE TABLE drawn (id int PRIMARY KEY AUTO_INCREMENT, t text);
CREATE VIEW titles AS SELECT title FROM book; CREATE VIEW names AS SELECT name FROM author;
CREATE FUNCTION one() RETURNS int RETURN 1; CREATE PROCEDURE work() SELECT 1;
CREATE TRIGGER guard BEFORE INSERT ON book FOR EACH ROW SET NEW.title = 'guarded';
CREATE TRIGGER watch AFTER UPDATE ON author FOR EACH ROW SET @x = 1;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DO SET @x = 1;
INSERT INTO drawn (t) SELECT REPEAT('x', 90) FROM seq_1_to_20000;
"""
CHANGE = """
DROP VIEW names; CREATE OR REPLACE VIEW titles AS SELECT id FROM book; CREATE VIEW later_view AS SELECT 1;
DROP FUNCTION one; CREATE FUNCTION one() RETURNS int RETURN 2; CREATE PROCEDURE later() SELECT 1;
DROP TRIGGER guard; CREATE TRIGGER later_guard BEFORE INSERT ON author FOR EACH ROW SET @x = 2;
DROP EVENT nightly; CREATE EVENT later_event ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DO SET @x = 2;
CREATE TABLE later_table (i int, CONSTRAINT of_author FOREIGN KEY (i) REFERENCES author (id)); DROP TABLE kept;
DELETE FROM book WHERE id > 9; DELETE FROM drawn WHERE id > 100;
"""


class Trial:
    """Restores that are killed: each time the state is one of two."""

    def __init__(self, server: MySQLServer) -> None:
        self.server = server
        self.new = server.text()
        create_backup()
        server.script(CHANGE)
        self.old = server.text()
        self.ends: list[str] = []

    def kill(self, act: Callable[[], object], seconds: float | None = None) -> None:
        """Carry out *act* in a process group that is killed after *seconds*, or kills itself."""
        self.server.site.close()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            with suppress(BaseException):
                act()
            os._exit(0)
        if seconds is not None:
            wait_until(lambda: os.getpgid(pid) == pid)
            time.sleep(seconds)
            os.killpg(pid, signal.SIGKILL)  # not reaped yet, so it is there
        os.waitpid(pid, 0)
        wait_until(lambda: not self._is_busy())

    def look(self) -> str:
        """What the kill left; the database is made the old one again."""
        found = self.server.text()
        unfinished = self.is_unfinished()
        if unfinished:
            self._resume()
        elif found != self.old:
            fail_unless_equal(self.new, found)
        self.ends.append("resumed" if unfinished else "old" if found == self.old else "new")
        if self.ends[-1] != "old":
            self.server.script(CHANGE)
            fail_unless_equal(self.old, self.server.text())
        return self.ends[-1]

    def finish(self) -> None:
        """The next restore leaves nothing of those that died, but what it and they have set aside."""
        restore_backup()
        fail_unless_equal(self.new, self.server.text())
        assert self.server.schemas() == self._in_state("done")

    def is_unfinished(self) -> bool:
        return bool(self._in_state("switching"))

    def _resume(self) -> None:
        """An interrupted switch refuses backups and restores; --resume finishes it."""
        with pytest.raises(DatabaseUnavailable, match=r"between two states.*--resume"):
            create_backup()
        with pytest.raises(RestoreRefused, match=r"interrupted.*--resume"):
            restore_backup()
        answer = self.server.site.call("backup_restore", "--resume", "--database", "default")
        assert answer.code == 0, answer.stderr
        fail_unless_equal(self.new, self.server.text())

    def _is_busy(self) -> bool:
        query = "SELECT COUNT(*) FROM information_schema.processlist WHERE db LIKE '{}%' AND id <> CONNECTION_ID()"
        name = self.server.databases["default"].replace("_", r"\_")
        return self.server.server.sql(query.format(name)) != [(0,)]

    def _in_state(self, state: str) -> set[str]:
        sql = self.server.server.sql
        signed = {name for name in self.server.schemas() if sql(f"SHOW TABLES FROM `{name}` LIKE '{MARKER}'")}
        return {name for name in signed if sql(f"SELECT state FROM `{name}`.{MARKER}") == [(state,)]}


def killing_itself(act: Callable[[], object], before: int | str) -> Callable[[], None]:
    """*act* in a process that kills its own group before a statement of its switch: of that number, or so beginning."""

    def carried_out() -> None:
        count = itertools.count(1)
        for name in ("begin_switch", "resume_switch"):
            setattr(switch, name, _counting(getattr(switch, name), count, before))
        act()

    return carried_out


def _counting(plain: Callable[..., Any], count: Iterator[int], before: int | str) -> Callable[..., Any]:
    def begun(*args: Any) -> Any:
        execute = Session._run

        def counted(session: Session, statement: str | bytes, *given: Any) -> None:
            if next(count) == before or (isinstance(before, str) and str(statement).startswith(before)):
                os.killpg(0, signal.SIGKILL)
            execute(session, statement, *given)

        if not hasattr(Session, "is_counted"):
            Session.is_counted, Session._run = True, counted  # type: ignore[attr-defined]
        return plain(*args)

    return begun


def resume() -> None:
    resume_restore("default")
