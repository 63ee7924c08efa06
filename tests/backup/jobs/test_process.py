"""Jobs in a process of their own, which outlives the process that has started them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.job import Job, JobPhase, JobState, RestoreChoice
from django_cfg.backup.services.jobs.launch import launch
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.job_project import JobProject
from tests.support.processes import children, is_running, wait_until
from tests.support.real_project import SLOW, sql

HISTORY = "SELECT kind, state, started_by FROM django_cfg_backup_run ORDER BY id"


@pytest.fixture
def job_project(tmp_path: Path, books: Path, monkeypatch: pytest.MonkeyPatch) -> JobProject:
    return JobProject(tmp_path / "project", books, monkeypatch, compression="none")


def manifests_of(project: JobProject) -> list[str]:
    return [name for name in project.stored() if name.endswith(".json")]


def test_each_action_runs_after_its_launcher_has_ended(job_project: JobProject) -> None:
    made = job_project.perform(Job(action="backup", by="ada", databases=("default",), note="before the sale"))
    assert (made.phase, made.where) == (JobPhase.SUCCEEDED, "in a process of its own")
    (name,) = made.result["names"]
    assert json.loads((job_project.backups / f"{name}.json").read_text())["note"] == "before the sale"
    assert job_project.perform(Job(action="backup", by="ada")).phase == "succeeded"
    for action, expected in (("verify", "is good."), ("drill", "was restored and compared")):
        ended = job_project.perform(Job(action=action, by="ben", names=(name,)))
        assert (ended.phase, expected in ended.message) == ("succeeded", True), ended.message
    restored = job_project.perform(Job(action="restore", by="ben", names=(name,), restore=RestoreChoice(to="default")))
    assert (restored.phase, restored.message.partition(".")[0]) == (
        "succeeded", f"default is now as in {name}",
    )  # fmt: skip
    undone = job_project.perform(Job(action="undo", by="dora", undo=("default", restored.result["old_data"])))
    assert (undone.phase, undone.message.startswith("default is again as it was")) == ("succeeded", True)
    pruned = job_project.perform(Job(action="prune", by="cleo", names=(name,)))
    assert (pruned.phase, pruned.message) == ("succeeded", "0 backups deleted, 0 bytes freed.")
    rows = [(str(kind), str(state), str(by)) for kind, state, by in sql(job_project, HISTORY)]
    assert rows[-2:] == [("restore", "succeeded", "dora"), ("prune", "succeeded", "cleo")]


def test_the_log_of_a_job_is_private_and_holds_what_it_printed(job_project: JobProject) -> None:
    job = Job(action="backup", by="ada")
    job_project.perform(job)
    assert FileBoard(job.id).log.stat().st_mode & 0o777 == 0o600
    wait_until(lambda: "Backup of all databases: succeeded." in job_project.log(job))  # its last line, after its end


def test_a_restore_that_replaces_users_sessions_and_history(job_project: JobProject) -> None:
    """The state is in no database; the run is recorded in the restored one, with the user who has started it."""
    sql_before = sql(job_project, "SELECT count(*) FROM book")
    made = job_project.perform(Job(action="backup", by="ada"))
    (name,) = made.result["names"]
    restored = job_project.perform(Job(action="restore", by="ben", names=(name,), restore=RestoreChoice(to="default")))
    assert restored.phase == "succeeded"
    assert sql(job_project, "SELECT count(*) FROM book") == sql_before
    assert sql(job_project, HISTORY)[-1] == ("restore", "succeeded", "ben")


class TestEnds:
    def test_a_failed_job_says_why(self, job_project: JobProject) -> None:
        ended = job_project.perform(Job(action="verify", by="ada", names=("nosuch",)))
        assert (ended.phase, "There is no backup 'nosuch'" in ended.message) == ("failed", True)

    def test_a_process_that_cannot_start_is_reported(self, job_project: JobProject) -> None:
        """Its code was changed since, for example: the process ends before it can write anything."""
        job = Job(action="backup", by="ada")
        with (job_project.folder / "settings.py").open("a") as file:
            file.write("\nimport sys\nif 'backup_job' in sys.argv:\n    raise SystemExit(9)\n")
        with job_project.launcher(job) as launcher:
            ended = job_project.end_of(job)
            launcher.communicate("")
        assert (ended.phase, "ended with exit code 9. What it printed is in" in ended.message) == ("failed", True)

    def test_a_process_that_never_began_is_lost_where_its_launcher_is_gone(self, job_project: JobProject) -> None:
        job = Job(action="backup", by="ada")
        with (job_project.folder / "settings.py").open("a") as file:
            file.write("\nimport sys, time\nif 'backup_job' in sys.argv:\n    time.sleep(1)\n    raise SystemExit(9)\n")
        job_project.launch(job)
        waiting = job_project.state(job)
        assert waiting.phase == "waiting"
        assert not waiting.is_silent(waiting.seen_at)
        assert waiting.is_silent(waiting.seen_at.replace(year=waiting.seen_at.year + 1))


@pytest.fixture
def stuck_job_project(tmp_path: Path, books: Path, monkeypatch: pytest.MonkeyPatch) -> JobProject:
    """A project whose backup never comes to its end."""
    return JobProject(tmp_path / "project", books, monkeypatch, more=SLOW, compression="none")


def process_of(project: JobProject, job: Job) -> int:
    """The process that does *job*."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"backup_job" in words and job.id.encode() in words:
            return int(path.parent.name)
    raise AssertionError(f"no process does {job}")


class TestKilledProcesses:
    def test_a_killed_process_is_reported_and_leaves_no_zombie(self, stuck_job_project: JobProject) -> None:
        job = Job(action="backup", by="ada")
        with stuck_job_project.launcher(job) as launcher:
            wait_until((stuck_job_project.folder / "writing").exists, 60)
            pid = process_of(stuck_job_project, job)
            assert os.getsid(pid) == pid
            os.kill(pid, signal.SIGKILL)
            ended = stuck_job_project.end_of(job)
            assert (ended.phase, "was killed by signal 9" in ended.message) == ("failed", True)
            wait_until(lambda: not Path(f"/proc/{pid}").exists())  # reaped
            launcher.communicate("")

    def test_after_a_kill_the_next_backup_is_made_immediately(self, stuck_job_project: JobProject) -> None:
        job = Job(action="backup", by="ada")
        stuck_job_project.launch(job)
        wait_until((stuck_job_project.folder / "writing").exists, 60)
        pid = process_of(stuck_job_project, job)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid))
        state = stuck_job_project.state(job)
        assert (state.phase, state.has_ended) == ("running", False)
        settings = stuck_job_project.folder / "settings.py"
        settings.write_text(settings.read_text().replace("time.sleep(600)", "pass"))
        assert stuck_job_project.perform(Job(action="backup", by="ben")).phase == "succeeded"
        assert [row[1] for row in sql(stuck_job_project, HISTORY)] == ["failed", "succeeded"]

    def test_an_ended_process_records_that(self, stuck_job_project: JobProject) -> None:
        """SIGTERM, as when the machine is shut down."""
        job = Job(action="backup", by="ada")
        stuck_job_project.launch(job)
        wait_until((stuck_job_project.folder / "writing").exists, 60)
        os.kill(process_of(stuck_job_project, job), signal.SIGTERM)
        ended = stuck_job_project.end_of(job)
        assert (ended.phase, ended.message) == ("failed", "It was ended from outside. It was ended by SIGTERM.")

    def test_a_job_is_cancelled_by_its_board(self, stuck_job_project: JobProject) -> None:
        job = Job(action="backup", by="ada")
        stuck_job_project.launch(job)
        wait_until((stuck_job_project.folder / "writing").exists, 60)
        FileBoard(job.id).cancel("cleo")
        ended = stuck_job_project.end_of(job)
        assert (ended.phase, "was cancelled by cleo" in ended.message) == ("cancelled", True)
        assert stuck_job_project.stored() == []
        assert [row[1] for row in sql(stuck_job_project, HISTORY)] == ["cancelled"]


class TestOnce:
    def test_a_job_is_done_once(self, job_project: JobProject) -> None:
        job = Job(action="backup", by="ada")
        job_project.perform(job)
        again = job_project.run("backup_job", job.id)
        assert (again.returncode, "was begun, or its file is gone" in again.stderr) == (5, True)
        assert len(manifests_of(job_project)) == 1

    def test_two_processes_that_start_one_job_do_it_once(self, stuck_job_project: JobProject) -> None:
        settings = stuck_job_project.folder / "settings.py"
        settings.write_text(settings.read_text().replace("time.sleep(600)", "time.sleep(0.1)"))
        job = Job(action="backup", by="ada")
        FileBoard(job.id).write(JobState(job=job, seen_at=clock.now()))
        running = [stuck_job_project.start("backup_job", job.id) for _ in range(3)]
        codes = sorted(process.wait(60) for process in running)
        for process in running:
            process.communicate()
        assert codes == [0, 5, 5]
        assert stuck_job_project.state(job).phase == "succeeded"
        assert len(manifests_of(stuck_job_project)) == 1

    @pytest.mark.parametrize("content", [b"", b"no JSON", b"{}", b'{"job": null}', b"\xff\xfe"])
    def test_garbage_in_the_file_of_a_job(self, job_project: JobProject, content: bytes) -> None:
        number = "0" * 24
        folder = FileBoard(number).log.parent
        (folder / f"{number}.json").write_bytes(content)
        answer = job_project.run("backup_job", number)
        assert (answer.returncode, f"No job {number} waits here" in answer.stderr) == (5, True)
        assert FileBoard(number).read() is None

    @pytest.mark.parametrize("number", ["", "../../etc/passwd", "A" * 24, "0" * 23, "0" * 24 + "\n"])
    def test_what_is_no_number_of_a_job(self, job_project: JobProject, number: str) -> None:
        answer = job_project.run("backup_job", number)
        assert (answer.returncode, "is no job" in answer.stderr) == (2, True)


def test_nothing_is_imported_from_the_current_folder(job_project: JobProject) -> None:
    """A server may have been started in a folder where others can write."""
    (job_project.folder / "tmp" / "django.py").write_text("raise SystemExit('never imported')")
    script = (job_project.folder / "launcher.py").read_text()
    (job_project.folder / "launcher.py").write_text(
        script.replace("import os, sys", "import os, sys; os.chdir('tmp')", 1)
    )
    assert job_project.perform(Job(action="backup", by="ada")).phase == "succeeded"


def test_no_secret_is_in_what_a_job_leaves(tmp_path: Path, books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error of a library may name any of them."""
    more = """
SECRET_KEY = "k" * 40 + "of-the-site"
from django_cfg.backup.storage.local.storage import LocalStorage

def fail(*arguments, **options):
    raise RuntimeError(f"connecting with {SECRET_KEY} failed")

LocalStorage.publish = fail
"""
    leaking = JobProject(tmp_path / "project", books, monkeypatch, more=more)
    job = Job(action="backup", by="ada")
    ended = leaking.perform(job)
    assert (ended.phase, "connecting with *** failed" in ended.message) == ("failed", True), ended.message
    wait_until(lambda: "unexpectedly" in leaking.log(job))
    assert "of-the-site" not in str(sql(leaking, "SELECT message FROM django_cfg_backup_run"))
    for path in FileBoard(job.id).log.parent.iterdir():
        assert "of-the-site" not in path.read_text(), path


class TestFolder:
    def test_a_folder_that_others_can_write_is_refused(self, site: Site, temporary: Path) -> None:
        folder = temporary / f"django-cfg-jobs-{os.getuid()}"
        folder.mkdir()
        folder.chmod(0o770)
        before = children()
        with pytest.raises(Exception, match="is not a folder for this user alone, so no job is started"):
            launch(current_project(), Job(action="backup", by="ada"))
        assert children() == before

    def test_a_link_is_refused(self, site: Site, temporary: Path) -> None:
        (temporary / "elsewhere").mkdir(mode=0o700)
        (temporary / f"django-cfg-jobs-{os.getuid()}").symlink_to(temporary / "elsewhere")
        with pytest.raises(Exception, match="is not a folder for this user alone"):
            launch(current_project(), Job(action="backup", by="ada"))

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
    def test_a_folder_of_another_user_is_refused(self, site: Site, temporary: Path) -> None:
        folder = temporary / f"django-cfg-jobs-{os.getuid()}"
        folder.mkdir(mode=0o700)
        os.chown(folder, 12345, 12345)
        with pytest.raises(Exception, match="is not a folder for this user alone"):
            launch(current_project(), Job(action="backup", by="ada"))
