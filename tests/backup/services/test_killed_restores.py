"""A killed restore does not stay "running" in a history that is kept in another database."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_cfg.backup import restore_backup
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.runs.file_lock import source_lock
from django_cfg.backup.services.runs.lease import fail_dead_runs
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.signals import restore_checked, restore_failed
from tests.support.django_project import Site


@pytest.fixture
def killed(site: Site, shop: Manifest) -> Manifest:
    """A restore of the shop that was killed before its switch."""
    site.close()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            restore_checked.connect(_die)
            restore_backup(shop.name, database="shop")
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert states(site) == ["running"]
    return shop


def _die(**facts: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def states(site: Site) -> list[str]:
    return [
        state for (state,) in site.sql("SELECT state FROM django_cfg_backup_run WHERE kind = 'restore' ORDER BY id")
    ]


def test_the_next_restore_fails_the_killed_one(site: Site, killed: Manifest) -> None:
    restore_backup(killed.name, database="shop")
    assert states(site) == ["failed", "succeeded"]
    first = Run.objects.filter(kind="restore").order_by("id")[0]
    assert "killed" in first.message
    assert first.finished_at


def test_the_next_tick_fails_the_killed_one(site: Site, killed: Manifest) -> None:
    heard: list[dict[str, Any]] = []

    def hear(**facts: Any) -> None:
        heard.append(facts)

    restore_failed.connect(hear)
    try:
        tick(in_place=True)
    finally:
        restore_failed.disconnect(hear)
    assert states(site) == ["failed"]
    assert [(facts["database"], facts["manifest"]) for facts in heard] == [("shop", None)]
    assert "killed" in heard[0]["message"]


def test_a_running_restore_is_left_alone(site: Site, shop: Manifest) -> None:
    """It holds the lock."""
    seen: list[str] = []

    def look(**facts: Any) -> None:
        fail_dead_runs(current_project())
        seen.extend(states(site))

    restore_checked.connect(look)
    try:
        restore_backup(shop.name, database="shop")
    finally:
        restore_checked.disconnect(look)
    assert seen == ["running"]


@pytest.mark.parametrize(
    ("host", "lock_file", "age", "state"),
    [
        ("elsewhere", "boot:1:2", timedelta(minutes=4), "running"),
        ("elsewhere", "boot:1:2", timedelta(minutes=6), "failed"),
        ("", "", timedelta(minutes=4), "running"),
        (socket.gethostname(), "an-earlier-boot:1:2", timedelta(minutes=1), "failed"),
    ],
)
def test_the_state_of_a_restore_without_its_lock(
    site: Site, host: str, lock_file: str, age: timedelta, state: str
) -> None:
    source = {"project": "tests", "env": "test", "database": "default"}
    process = {"host": host, "lock_file": lock_file, "heartbeat_at": datetime.now(UTC) - age}
    Run.objects.create(**source, **process, kind="restore", started_at=datetime.now(UTC) - timedelta(hours=5))
    fail_dead_runs(current_project())
    assert states(site) == [state]


def test_two_restores_of_a_database_do_not_run_at_the_same_time(site: Site, shop: Manifest) -> None:
    project = current_project()
    with source_lock(project, project.source("shop"), Run.Kind.RESTORE):
        answer = site.call("backup_restore", "--database", "shop", "--yes")
    assert answer.code == 1
    assert "A restore of tests/test/shop is being made by another process" in answer.stderr
