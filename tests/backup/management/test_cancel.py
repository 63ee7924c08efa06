"""backup_cancel"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from django_cfg.backup import Cancelled, create_backup
from django_cfg.backup.models import Run
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.runs import heartbeat
from tests.support.django_project import Answer, Site

pytestmark = pytest.mark.usefixtures("frequent_looks")


@pytest.fixture
def frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running runs see at once that they are cancelled."""
    monkeypatch.setattr(heartbeat, "_LOOK_EVERY", 0.05)


class Asking:
    """A progress that waits in the step "reading" until the run is cancelled, and runs *cancel* in a thread."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.thread = threading.Thread(target=cancel)

    def say(self, text: str) -> None:
        if "reading" in text:
            self.thread.start()
            threading.Event().wait(30)

    def begin(self, label: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def end(self) -> None: ...


def row(**facts: Any) -> Run:
    """A run of the history."""
    known = {"project": "tests", "env": "test", "database": "default", "host": "elsewhere"}
    return Run.objects.create(**known | facts)


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("options", [["--database", "default"], ["NUMBER"]])
def test_a_running_backup_is_cancelled(site: Site, options: list[str]) -> None:
    """It leaves nothing, and the next one is made immediately."""
    answers: list[Answer] = []

    def cancel() -> None:
        try:
            number = str(Run.objects.get().pk)
            arguments = [number if option == "NUMBER" else option for option in options]
            answers.append(site.call("backup_cancel", *arguments))
        finally:
            connections.close_all()  # this thread's own

    progress = Asking(cancel)
    with pytest.raises(Cancelled):
        create_backup(progress=progress)
    progress.thread.join()
    (answer,) = answers
    assert answer.code == 0, answer.stderr
    assert answer.stdout.startswith(f"Run {Run.objects.get().pk}, the backup of ")
    assert answer.stdout.rstrip().endswith("is cancelled.")
    assert (Run.objects.get().state, site.stored()) == ("cancelled", [])
    assert site.create().name


def test_json_says_what_was_cancelled(site: Site) -> None:
    waiting = row(state=Run.State.QUEUED)
    answer = site.call("backup_cancel", str(waiting.pk), "--json")
    assert answer.json == {"run": waiting.pk, "kind": "backup", "database": "default", "state": "cancelled"}


def alive(**facts: Any) -> Run:
    return row(state=Run.State.RUNNING, started_at=clock.now(), heartbeat_at=clock.now(), **facts)


def test_of_several_one_has_to_be_named(site: Site) -> None:
    """They are listed with their numbers. Runs of other projects are not meant."""
    first, second = alive(), alive(kind=Run.Kind.RESTORE, name="default_2025")
    alive(project="another")
    answer = site.call("backup_cancel")
    assert answer.code == 2
    assert f"Run {first.pk}, the backup of default, since " in answer.stderr
    assert f"Run {second.pk}, the restore of default_2025, since " in answer.stderr
    assert "another" not in answer.stderr
    assert not Run.objects.filter(cancelled_by__gt="").exists()


def test_without_waiting_only_the_wish_is_written(site: Site) -> None:
    running = alive()
    answer = site.call("backup_cancel", "--wait", "0")
    assert (answer.code, "is to end at its next step" in answer.stdout) == (0, True)
    running.refresh_from_db()
    assert (running.state, bool(running.cancelled_by)) == ("running", True)


def test_a_run_that_does_not_end_is_an_error(site: Site) -> None:
    alive()
    answer = site.call("backup_cancel", "--wait", "1")
    assert (answer.code, "has not ended within 1 second" in answer.stderr) == (1, True)


def test_what_is_not_running_is_not_found(site: Site) -> None:
    """Exit code 5; it says what the history does not know."""
    done = row(state=Run.State.SUCCEEDED)
    foreign = alive(project="another")
    for arguments, words in (
        ([], "Press Ctrl-C where it runs"),
        (["--database", "default"], "restore of default is running"),
        ([str(done.pk)], "has ended: succeeded"),
        ([str(foreign.pk)], "has no run"),
        (["4711"], "has no run 4711"),
    ):
        answer = site.call("backup_cancel", *arguments)
        assert (answer.code, words in answer.stderr) == (5, True), answer.stderr


def test_a_run_whose_process_is_gone_is_not_waited_for(site: Site) -> None:
    hours_ago = clock.now() - timedelta(hours=1)
    dead = row(state=Run.State.RUNNING, started_at=hours_ago, heartbeat_at=hours_ago)
    assert site.call("backup_cancel").code == 5
    dead.refresh_from_db()
    assert dead.state == "failed"


def test_a_negative_wait_is_wrong_usage(site: Site) -> None:
    assert site.call("backup_cancel", "--wait", "-1").code == 2
