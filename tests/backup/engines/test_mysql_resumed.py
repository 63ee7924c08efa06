"""A restore that --resume finishes is recorded and reported like one that was not interrupted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.conf import settings
from django.db import router

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql import switch
from django_cfg.backup.models import Run
from django_cfg.backup.services.restore.resume import resume_restore
from django_cfg.backup.signals import restore_succeeded
from tests.support.databases import BOOKS
from tests.support.mysql_databases import MySQLServer


class HistoryRouter:
    """Keeps the history in a database of its own."""

    def db_for_read(self, model: type, **hints: object) -> str | None:
        return "history" if model is Run else None

    db_for_write = db_for_read


@pytest.fixture
def heard() -> Any:
    heard: list[dict[str, Any]] = []

    def hear(**facts: Any) -> None:
        heard.append(facts)

    restore_succeeded.connect(hear)
    yield heard
    restore_succeeded.disconnect(hear)


def die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_its_switch(server: MySQLServer, act: Callable[[], object]) -> None:
    """When the tables have moved, and their code is not made yet."""
    server.site.close()
    pid = os.fork()
    if pid == 0:
        switch.replace_objects = die  # type: ignore[assignment]
        with suppress(BaseException):
            act()
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_a_history_elsewhere_has_its_row_ended(
    mysql_server: MySQLServer, monkeypatch: pytest.MonkeyPatch, heard: list[dict[str, Any]]
) -> None:
    site = mysql_server.site
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(site.database)}
    site.use_databases(**settings.DATABASES, history=sqlite)
    monkeypatch.setattr(router, "routers", [HistoryRouter()])
    manifest = create_backup()
    mysql_server.run("DELETE FROM book")
    killed_in_its_switch(mysql_server, restore_backup)
    assert [run.state for run in Run.objects.filter(kind="restore")] == ["running"]

    switched = resume_restore("default")
    (run,) = Run.objects.filter(kind="restore")
    assert (run.state, run.name, run.old_data, run.message) == ("succeeded", manifest.name, switched.old_data, "")
    assert run.finished_at
    (facts,) = heard
    assert (facts["manifest"], facts["database"], facts["old_data"]) == (manifest, "default", switched.old_data)
    assert mysql_server.count("book") == BOOKS


def test_a_history_in_the_database_itself_is_reconciled(mysql_server: MySQLServer, heard: list[dict[str, Any]]) -> None:
    site = mysql_server.site
    site.call("migrate", verbosity=0)
    mysql_server.run("DELETE FROM django_migrations WHERE app = 'sessions'")
    manifest = create_backup()
    Run.objects.create(project="tests", env="test", database="logs", state="queued")
    killed_in_its_switch(mysql_server, restore_backup)

    answer = site.call("backup_restore", "--resume", "--database", "default")
    assert answer.code == 0, answer.stderr
    assert "1 migration behind your code (sessions 1): run migrate" in answer.stderr
    assert [(run.name, run.state) for run in Run.objects.filter(kind="backup")] == [(manifest.name, "succeeded")]
    assert [(run.state, run.name) for run in Run.objects.filter(kind="restore")] == [("succeeded", "")]
    assert [facts["manifest"] for facts in heard] == [None]
