"""Jobs that wait for a tick, where no process can be started; each is done once, and none is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from django.core.management import call_command
from django.test.utils import override_settings

from django_cfg.backup import signals
from django_cfg.backup.errors import HistoryUnavailable, StorageError
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.places import list_backups
from django_cfg.backup.services.jobs import launch as launching
from django_cfg.backup.services.jobs import perform as performing
from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.find import find_board
from django_cfg.backup.services.jobs.job import Action, Job, JobState, RestoreChoice
from django_cfg.backup.services.jobs.launch import describe_way, launch
from django_cfg.backup.services.jobs.perform import perform_once, perform_waiting
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.runs.cancel import cancel_run
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.tasks import run_tick
from tests.support.django_project import Site
from tests.support.rq_jobs import clean

RunTick = Callable[[Site], Any]


@pytest.fixture
def waiting(site: Site, books: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A project where no process can be started: its server has Python built in."""
    monkeypatch.setattr("sys.executable", "/usr/sbin/uwsgi")
    monkeypatch.setattr("sys.prefix", "/nonexistent")
    site.configure(schedule={"enabled": False})
    return site


def state_of(job: Job) -> JobState:
    found = find_board(current_project(), job.id)
    assert found is not None
    return found[1]


def start(*jobs: Job) -> None:
    for job in jobs:
        assert launch(current_project(), job).where == "with the next tick"


@pytest.mark.parametrize(
    "ticking",
    [lambda site: site.call("backup_tick"), lambda site: run_tick()],
    ids=["backup_tick", "run_tick"],
)
def test_a_job_is_done_with_the_next_tick(waiting: Site, ticking: RunTick) -> None:
    assert describe_way(current_project()) == "with the next tick"
    job = Job(action="backup", by="ada", note="by hand")
    start(job)
    assert state_of(job).phase == "waiting"
    row = Run.objects.get()
    assert (row.state, row.kind, row.started_by) == ("queued", "backup", "ada")
    ticking(waiting)
    assert state_of(job).phase == "succeeded"
    assert [(manifest.note, manifest.trigger) for manifest in list_backups()] == [("by hand", "manual")]
    row = Run.objects.get()
    assert (row.state, row.started_by) == ("succeeded", "ada")


def test_every_action_is_done_with_a_tick(waiting: Site) -> None:
    name = waiting.create().name
    jobs = [
        Job(action="verify", by="ada", names=(name,)),
        Job(action="drill", by="ada", names=(name,)),
        Job(action="prune", by="ada", names=(name,)),
        Job(action="restore", by="ada", names=(name,), restore=RestoreChoice(to="default")),
    ]
    start(*jobs)
    perform_waiting()
    assert [state_of(job).phase for job in jobs] == ["succeeded"] * 4
    old_data = state_of(jobs[-1]).result["old_data"]
    undo = Job(action="undo", by="ben", undo=("default", old_data))
    start(undo)
    perform_waiting()
    assert state_of(undo).phase == "succeeded", state_of(undo).message
    row = Run.objects.first()
    assert row is not None
    assert (row.kind, row.state, row.started_by) == ("restore", "succeeded", "ben")


def test_settings_without_a_module(site: Site, books: Path, temporary: Path) -> None:
    """settings.configure(), or overridden settings: another process would have others, and another database."""
    with override_settings(DEBUG=False):
        assert describe_way(current_project()) == "with the next tick"
        start(Job(action="backup", by="ada"))
    assert Run.objects.get().state == "queued"


def test_a_waiting_job_and_a_schedule_do_not_disturb_one_another(waiting: Site) -> None:
    """The row of the job is no claim: the slot is served once, and so is the job."""
    waiting.configure(schedule={"cron": "* * * * *"})
    jobs = Job(action="backup", by="ada", note="by hand"), Job(action="backup", by="ben", note="by hand, too")
    start(*jobs)
    clean(tick())
    assert [manifest.trigger for manifest in list_backups()] == ["scheduled"]
    perform_waiting()
    assert [state_of(job).phase for job in jobs] == ["succeeded"] * 2
    assert sorted(manifest.note for manifest in list_backups()) == ["", "by hand", "by hand, too"]


def test_a_tick_that_ends_in_the_middle_leaves_the_other_jobs(waiting: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM of a scheduler: it ends, the job says so, and the next tick does the others."""
    first, second = Job(action="backup", by="ada"), Job(action="backup", by="ben")
    start(first, second)

    def end(*arguments: object, **options: object) -> None:
        raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr(performing, "create_backups", end)
        with pytest.raises(SystemExit):
            perform_waiting()
    assert (state_of(first).phase, state_of(first).message) == ("failed", "It was ended from outside. 143")
    assert state_of(second).phase == "waiting"
    perform_waiting()
    assert state_of(second).phase == "succeeded"


def test_what_is_no_job_does_not_keep_the_others_from_being_done(
    waiting: Site, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Job(action="backup", by="ada"), Job(action="backup", by="ben")
    start(first, second)
    Run.objects.filter(started_by="ada").update(request='{"action": "explode"}')
    perform_waiting()
    assert state_of(second).phase == "succeeded"
    assert "is no job that this version knows" in caplog.text


def test_a_job_of_another_time_is_not_done(waiting: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was in a dump that was restored by hand: restoring again would lose the data of today."""
    name = waiting.create().name
    old = Job(action="restore", by="ada", at=clock.now() - timedelta(days=2), names=(name,),
              restore=RestoreChoice(to="default"))  # fmt: skip
    start(old)
    before = waiting.content()
    perform_waiting()
    assert waiting.content() == before
    state = state_of(old)
    assert (state.phase, "no tick has done it since" in state.message) == ("failed", True)
    assert not Run.objects.filter(kind="restore").exists()


@pytest.mark.parametrize("action", ["restore", "verify", "drill"])
def test_a_backup_that_is_gone_is_not_mistaken_for_another(
    waiting: Site, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    """The name of one that was begun in the same second begins with its name."""
    with monkeypatch.context() as patch:
        now = clock.now()
        patch.setattr(clock, "now", lambda: now)
        chosen, other = waiting.create(), waiting.create()
    assert other.name == f"{chosen.name}-2"
    restore = RestoreChoice(to="default") if action == "restore" else None
    job = Job(action=action, by="ada", names=(chosen.name,), restore=restore)
    start(job)
    assert waiting.call("backup_delete", chosen.name, "--yes").code == 0
    before = waiting.content()
    perform_waiting()
    assert state_of(job).phase == "failed"
    assert f"There is no backup {chosen.name!r}" in state_of(job).message
    assert f"{other.name} is another one" in state_of(job).message
    assert waiting.content() == before


def test_a_backup_that_is_gone_is_not_mistaken_for_one_of_another_environment(waiting: Site) -> None:
    """At the same second of a project whose environment has a longer name."""
    chosen = waiting.create()
    for key in waiting.stored():
        if key.startswith(chosen.name):
            old, new = waiting.backups / key, waiting.backups / key.replace(chosen.name, f"{chosen.name}2")
            new.write_bytes(old.read_bytes().replace(chosen.name.encode(), f"{chosen.name}2".encode()))
            old.unlink()
    job = Job(action="restore", by="ada", names=(chosen.name,), restore=RestoreChoice(to="default"))
    start(job)
    before = waiting.content()
    perform_waiting()
    assert (state_of(job).phase, f"{chosen.name} was deleted after it" in state_of(job).message) == ("failed", True)
    assert waiting.content() == before


def test_a_job_that_came_back_with_its_own_dump_is_not_done_again(waiting: Site) -> None:
    """The dump of a backup holds the jobs that waited while it was made."""
    job = Job(action="restore", by="ada", names=("latest",), restore=RestoreChoice(to="default"))
    start(job)
    row = Run.objects.get()
    waiting.create()
    perform_waiting()
    assert state_of(job).phase == "succeeded"
    assert not Run.objects.filter(state="queued").exists()
    row.pk = None
    row.save()
    ended = state_of(job)
    perform_waiting()
    assert state_of(job) == ended


def test_a_waiting_job_is_cancelled_by_its_row(waiting: Site) -> None:
    job = Job(action="backup", by="ada")
    start(job)
    assert cancel_run(Run.objects.get().pk, "ben")
    assert (state_of(job).phase, state_of(job).message) == ("cancelled", "Cancelled by ben.")
    perform_waiting()
    assert waiting.stored() == []


def test_a_waiting_job_is_cancelled_by_its_board(waiting: Site) -> None:
    job = Job(action="backup", by="ada")
    start(job)
    FileBoard(job.id).cancel("ben")
    perform_waiting()
    assert (state_of(job).phase, state_of(job).message) == ("cancelled", "Cancelled by ben.")
    assert waiting.stored() == []


def test_a_tick_of_another_machine_has_taken_it(waiting: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(action="backup", by="ada")
    start(job)
    (tmp_path / "elsewhere").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
        perform_waiting()
    state = state_of(job)
    assert (state.phase, "A tick of another machine or user has taken it" in state.message) == ("failed", True)
    assert Run.objects.get().state == "succeeded"


def test_without_a_history_nothing_is_left_to_a_tick(waiting: Site) -> None:
    call_command("migrate", "django_cfg_backup", "zero", verbosity=0)
    with pytest.raises(HistoryUnavailable, match="leave the job to the next tick"):
        launch(current_project(), Job(action="backup", by="ada"))


def test_a_process_that_cannot_be_started_leaves_it_to_a_tick(
    site: Site, books: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory, no more processes: the operating system refuses."""
    monkeypatch.setattr(launching, "_command", lambda: [str(temporary / "nosuch")])
    start(Job(action="backup", by="ada"))
    assert Run.objects.get().state == "queued"


def test_a_cancelled_backup_of_all_databases_does_not_begin_the_others(
    waiting: Site, migrated_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(performing, "_EVERY", 0.01)
    other = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(migrated_database)}
    waiting.use_databases(default={**other, "NAME": str(waiting.database)}, other=other)
    job = Job(action="backup", by="ada")

    def cancel(**facts: object) -> None:
        FileBoard(job.id).cancel("ben")
        sleep(0.5)

    signals.backup_succeeded.connect(cancel)
    try:
        start(job)
        perform_waiting()
    finally:
        signals.backup_succeeded.disconnect(cancel)
    (made,) = list_backups()
    assert made.source.database == "default"
    state = state_of(job)
    assert (state.phase, state.message) == ("cancelled", f"Cancelled by ben.\n1 backup made: {made.name}.")


def test_a_defect_is_the_end_of_its_job_alone(
    waiting: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Job(action="backup", by="ada"), Job(action="backup", by="ben")
    start(first, second)
    create_backups, calls = performing.create_backups, iter([ZeroDivisionError("a defect"), None])

    def fail_once(*arguments: Any, **options: Any) -> Any:
        if error := next(calls):
            raise error
        return create_backups(*arguments, **options)

    monkeypatch.setattr(performing, "create_backups", fail_once)
    perform_waiting()
    assert (state_of(first).phase, state_of(first).message) == ("failed", "a defect")
    assert f"The job {first} failed unexpectedly" in caplog.text
    assert state_of(second).phase == "succeeded"


@pytest.mark.parametrize(
    ("action", "said"),
    [("restore", "The job does not say where to restore."), ("undo", "The job does not say which restore to undo.")],
)
def test_a_job_that_does_not_say_what_to_replace(waiting: Site, action: Action, said: str) -> None:
    job = Job(action=action, by="ada", names=(waiting.create().name,))
    before = waiting.content()
    start(job)
    perform_waiting()
    assert (state_of(job).phase, state_of(job).message) == ("failed", said)
    assert waiting.content() == before


def test_settings_that_cannot_be_used_end_a_job(waiting: Site) -> None:
    """They were changed after it was started."""
    job = Job(action="backup", by="ada")
    waiting.set(BACKUP="nonsense")
    ended = perform_once(job, FileBoard(job.id), "in a process of its own")
    assert ended is not None
    assert (ended.phase, "settings.BACKUP" in ended.message) == ("failed", True)


def test_a_job_whose_board_cannot_be_used_is_logged(
    waiting: Site, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(action="backup", by="ada")
    start(job)
    (folder,) = temporary.glob("django-cfg-jobs-*")
    folder.chmod(0o777)
    perform_waiting()
    assert f"The job {job} could not be done: " in caplog.text
    assert waiting.stored() == []


def test_boards_of_jobs_that_ended_long_ago_are_removed(waiting: Site, temporary: Path) -> None:
    old, new = Job(action="backup", by="ada"), Job(action="backup", by="ben")
    start(old)
    for path in temporary.glob("django-cfg-jobs-*/*"):
        os.utime(path, (0, 0))
    start(new)
    left = [path.name for path in temporary.glob("django-cfg-jobs-*/*")]
    assert all(name.startswith(new.id) for name in left)
    assert left


def test_where_no_board_can_be_made_no_job_is_started(waiting: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(waiting.database))  # no folder
    with pytest.raises(StorageError, match=r"Could not make .*django-cfg-jobs-.*Not a directory"):
        launch(current_project(), Job(action="backup", by="ada"))
    assert not Run.objects.exists()


def test_the_way_of_a_queue(waiting: Site) -> None:
    waiting.set(RQ_QUEUES={"backups": {"URL": "redis://127.0.0.1:1/0"}})
    waiting.configure(schedule={"queue": "backups"})
    assert describe_way(current_project()) == "on the queue 'backups'"
