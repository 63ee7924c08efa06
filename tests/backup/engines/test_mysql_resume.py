"""A switch that was interrupted is finished by the tables that exist, and recorded like one that was not."""

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
from django_cfg.backup.errors import RestoreFailed
from django_cfg.backup.models import Run
from django_cfg.backup.services.restore.resume import resume_restore
from django_cfg.backup.signals import restore_checked, restore_succeeded
from tests.support.abandoned_staging import swept
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_trial import Trial, killing_itself


@pytest.fixture
def half_way(trial: Trial) -> Trial:
    """Killed when the switch has begun, and no table has moved."""
    trial.kill(killing_itself(restore_backup, "RENAME TABLE"))
    return trial


def scratch_of(server: MySQLServer) -> str:
    (name,) = (name for name in server.schemas() if "__restore_new_" in name)
    return name


def test_prune_leaves_what_resume_needs(half_way: Trial) -> None:
    before = half_way.server.schemas()
    answer = half_way.server.site.call("backup_prune", "--yes")
    assert answer.code == 0, answer.stderr
    assert swept() == []
    assert half_way.server.schemas() == before
    assert half_way.look() == "resumed"


def test_the_status_reports_it(half_way: Trial) -> None:
    """Unhealthy, with the command that fixes it, until it has been fixed."""
    site = half_way.server.site
    site.configure(databases=[{"alias": "empty", "enabled": False}])
    answer = site.call("backup_status")
    assert answer.code == 4
    assert "default: a restore was interrupted while it switched" in answer.stderr
    assert "manage.py backup_restore --resume --to default" in answer.stderr
    assert [kept["unfinished"] for kept in site.call("backup_status", "--json").json["old_data"]] == [True]
    assert half_way.look() == "resumed"
    assert site.call("backup_status").code == 0


@pytest.mark.parametrize("removed", ["DROP DATABASE {}", "DROP TABLE {}.drawn, {}.book, {}.author, {}.kept"])
def test_what_somebody_removed_is_not_reported_as_restored(half_way: Trial, removed: str) -> None:
    """The old tables stay: what was taken for the switch is given back; the message says that nothing was restored."""
    server = half_way.server
    server.server.sql("SET foreign_key_checks = 0", removed.replace("{}", scratch_of(server)))
    answer = server.site.call("backup_restore", "--resume", "--database", "default")
    assert answer.code == 1
    assert "was removed before it took its place" in answer.stderr
    assert "as it was: restore again" in answer.stderr
    fail_unless_equal(half_way.old, server.text())
    half_way.finish()


def test_a_scratch_that_was_dropped_after_the_move_is_not_missed(trial: Trial) -> None:
    trial.kill(killing_itself(restore_backup, "ALTER DATABASE"))
    trial.server.server.sql(f"DROP DATABASE {scratch_of(trial.server)}")
    assert trial.look() == "resumed"


def test_what_cannot_be_tidied_up_is_reported_and_no_failure(trial: Trial) -> None:
    """The data is in its place: a schema that cannot be dropped is named, with the statement that drops it."""
    server = trial.server
    scratch = server.databases["default"].replace("_", r"\_") + r"\_\_restore\_"
    user = server.user("keeper@'%'", "ALL ON {db}.*", "SELECT ON mysql.proc", "SET USER ON *.*",
                       f"ALL ON `{scratch}new\\_%`.*",
                       f"SELECT, CREATE, INSERT, UPDATE ON `{scratch}old\\_%`.*")  # fmt: skip
    server.act_as(user)
    answer = server.site.call("backup_restore", "--yes", "--discard-old")
    assert answer.code == 0, answer.stderr
    (kept,) = server.schemas()
    assert f"{kept} could not be dropped (Access denied" in answer.stderr
    assert f"DROP DATABASE `{kept}` removes it" in answer.stderr
    fail_unless_equal(trial.new, server.text())


def test_the_switch_fails_where_the_scratch_is_gone(trial: Trial) -> None:
    """Also without a kill: what was taken is given back, and nothing is left half-way."""
    server = trial.server

    def drop_it(**_: object) -> None:
        server.server.sql(f"DROP DATABASE {scratch_of(server)}")

    restore_checked.connect(drop_it)
    try:
        with pytest.raises(RestoreFailed, match="as it was"):
            restore_backup()
    finally:
        restore_checked.disconnect(drop_it)
    fail_unless_equal(trial.old, server.text())
    assert server.schemas() == set()
    with pytest.raises(Exception, match="nothing to resume"):
        resume_restore("default")


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
