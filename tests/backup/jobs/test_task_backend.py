"""Jobs on Django's tasks, with a backend whose worker is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import django
import pytest

from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.find import find_board
from django_cfg.backup.services.jobs.job import Job, JobState, RestoreChoice
from django_cfg.backup.services.jobs.launch import describe_way, launch
from django_cfg.backup.services.jobs.task_backend import has_task_backend
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.job_project import JobProject

pytestmark = pytest.mark.skipif(django.VERSION < (6, 0), reason="Django has tasks from 6.0 on")

# A backend that keeps its tasks in a file, and the worker that does them: it knows a task by its path alone.
BACKEND = """
import pickle
from pathlib import Path
from django.tasks.base import TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.exceptions import TaskResultDoesNotExist
from django.utils.module_loading import import_string

class FolderBackend(BaseTaskBackend):
    supports_get_result = True

    def __init__(self, alias, params):
        super().__init__(alias, params)
        self.folder = Path(self.options["folder"])

    def enqueue(self, task, args, kwargs):
        self.validate_task(task)
        id = str(len(list(self.folder.glob("*.task"))))
        result = TaskResult(
            task=task, id=id, status=TaskResultStatus.READY, enqueued_at=None, started_at=None, last_attempted_at=None,
            finished_at=None, args=list(args), kwargs=dict(kwargs), backend=self.alias, errors=[], worker_ids=[],
        )
        self.save(result)
        return result

    def save(self, result):
        (self.folder / f"{result.id}.task").write_bytes(pickle.dumps((result.task.module_path, result)))

    def get_result(self, result_id):
        try:
            return pickle.loads((self.folder / f"{result_id}.task").read_bytes())[1]
        except FileNotFoundError:
            raise TaskResultDoesNotExist(result_id)

    def work_off(self):
        for path in sorted(self.folder.glob("*.task")):
            module_path, result = pickle.loads(path.read_bytes())
            if result.status != TaskResultStatus.READY:
                continue
            try:
                value = import_string(module_path).call(*result.args, **result.kwargs)
            except Exception:
                object.__setattr__(result, "status", TaskResultStatus.FAILED)
                raise
            else:
                object.__setattr__(result, "_return_value", value)
                object.__setattr__(result, "status", TaskResultStatus.SUCCESSFUL)
            finally:
                self.save(result)
"""
WORKER = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django
django.setup()
from django.tasks import task_backends
task_backends["default"].work_off()
"""


class TaskProject(JobProject):
    """A project whose tasks are done by :meth:`work_off`."""

    def __init__(self, folder: Path, database: Path, patch: pytest.MonkeyPatch, **options: Any) -> None:
        tasks = {"default": {"BACKEND": "backend.FolderBackend", "OPTIONS": {"folder": str(folder)}, **options}}
        super().__init__(folder, database, patch, more=f"TASKS = {tasks!r}\n")
        (folder / "backend.py").write_text(BACKEND)
        (folder / "worker.py").write_text(WORKER)
        patch.syspath_prepend(str(folder))

    def work_off(self, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "worker.py"], cwd=self.folder, env={**self.variables, **variables},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stderr


@pytest.fixture
def project(tmp_path: Path, books: Path, monkeypatch: pytest.MonkeyPatch) -> TaskProject:
    return TaskProject(tmp_path / "project", books, monkeypatch)


def test_each_action_runs_on_the_task_backend(project: TaskProject) -> None:
    job = Job(action="backup", by="ada")
    assert project.launch(job) == ["on the task backend of the project"]
    waiting = project.state(job)
    assert (waiting.phase, waiting.task) == ("waiting", "0")
    assert project.work_off() == ""
    made = project.state(job)
    (name,) = made.result["names"]
    jobs = [
        Job(action="verify", by="ben", names=(name,)),
        Job(action="drill", by="ben", names=(name,)),
        Job(action="prune", by="ben", names=(name,)),
        Job(action="restore", by="ben", names=(name,), restore=RestoreChoice(to="default")),
    ]
    project.launch(*jobs)
    project.work_off()
    assert [project.state(job).phase for job in jobs] == ["succeeded"] * 4
    undo = Job(action="undo", by="ben", undo=("default", project.state(jobs[-1]).result["old_data"]))
    project.launch(undo)
    project.work_off()
    assert project.state(undo).phase == "succeeded", project.state(undo).message


def test_a_backend_with_other_queues(tmp_path: Path, books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = TaskProject(tmp_path / "project", books, monkeypatch, QUEUES=["slow", "fast"])
    job = Job(action="backup", by="ada")
    project.launch(job)
    assert project.work_off() == ""
    assert project.state(job).phase == "succeeded"


class TestElsewhere:
    """The worker has other temporary files: it is on another machine, or of another user."""

    def launched(self, project: TaskProject, site: Site) -> Job:
        """Started by this process, whose settings know the backend."""
        tasks = {"default": {"BACKEND": "backend.FolderBackend", "OPTIONS": {"folder": str(project.folder)}}}
        site.set(TASKS=tasks)
        job = Job(action="backup", by="ada")
        launch(current_project(), job)
        return job

    def state_of(self, job: Job) -> JobState:
        found = find_board(current_project(), job.id)
        assert found is not None
        return found[1]

    def test_the_end_is_read_from_the_result(self, project: TaskProject, site: Site, fresh_tasks: None) -> None:
        job = self.launched(project, site)
        assert self.state_of(job).phase == "waiting"
        (project.folder / "worker-tmp").mkdir()
        assert project.work_off(TMPDIR=str(project.folder / "worker-tmp")) == ""
        own = FileBoard(job.id).read()
        assert own is not None
        assert own.phase == "waiting"
        state = self.state_of(job)
        assert (state.phase, "1 backup made" in state.message) == ("succeeded", True)

    def test_a_worker_that_fails(self, project: TaskProject, site: Site, fresh_tasks: None) -> None:
        job = self.launched(project, site)
        folder = project.folder / "worker-tmp" / f"django-cfg-jobs-{os.getuid()}"
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        assert "is not a folder for this user alone" in project.work_off(TMPDIR=str(folder.parent))
        state = self.state_of(job)
        assert (state.phase, "see the log of the worker" in state.message) == ("failed", True)


@pytest.mark.parametrize("backend", ["immediate.ImmediateBackend", "dummy.DummyBackend"])
def test_a_backend_that_runs_nothing_outside_of_the_request_is_not_used(
    fresh_tasks: None, site: Site, backend: str
) -> None:
    site.set(TASKS={"default": {"BACKEND": f"django.tasks.backends.{backend}"}})
    assert not has_task_backend()
    assert describe_way(current_project()) == "in a process of its own"


def test_a_backend_that_cannot_be_imported_is_not_used(fresh_tasks: None, site: Site) -> None:
    site.set(TASKS={"default": {"BACKEND": "nosuch.Backend"}})
    assert not has_task_backend()
