"""The commands as processes: real exit codes, real signals, a real terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import is_running, wait_until
from tests.support.real_project import RUNS, SLOW, STUCK, MakeProject, RealProject, sql
from tests.support.terminal import read_until, terminal


def test_exit_codes_of_processes(real_project: MakeProject) -> None:
    """From done to no such backup; the error is one paragraph on stderr, and stdout stays clean."""
    project = real_project()
    created = project.run("backup_create", "--json")
    assert created.returncode == 0, created.stderr
    (manifest,) = json.loads(created.stdout)
    assert project.stored() == [f"{manifest['name']}.json", f"{manifest['name']}.sqlite3.gz"]
    for arguments, code in {
        ("backup_create", "nosuch"): 2,
        ("backup_show", "nosuch"): 5,
        ("backup_delete", "latest"): 2,
        ("backup_nosuch",): 1,
    }.items():
        done = project.run(*arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert "Traceback" not in done.stderr
    assert sql(project, "SELECT state FROM django_cfg_backup_run") == [("succeeded",)]


def test_some_databases_failing_is_exit_code_3(real_project: MakeProject) -> None:
    more = 'DATABASES["shop"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(BASE_DIR / "missing")}\n'
    project = real_project(more)
    done = project.run("backup_create", "--json")
    assert done.returncode == 3
    assert len(json.loads(done.stdout)) == 2


def test_unrelated_system_checks_do_not_prevent_a_restore(real_project: MakeProject) -> None:
    """On the worst day a project whose system check fails can still be listed and restored."""
    more = """
from django.core.checks import Error, register

@register()
def broken(**kwargs):
    return [Error("nothing works today", id="shop.E001")]
"""
    project = real_project(more)
    assert project.run("check").returncode == 1
    assert project.run("backup_create").returncode == 0
    assert project.run("backup_restore", "--yes").returncode == 0


@pytest.mark.parametrize(
    ("number", "code", "message"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "KeyboardInterrupt")]
)
@pytest.mark.parametrize("means", ["slow storage", "stuck program"])
def test_a_signal_during_a_backup_leaves_nothing(
    tmp_path: Path, real_project: MakeProject, means: str, number: int, code: int, message: str
) -> None:
    """No object, no partial file, no process, no temporary copy; the run is recorded as failed."""
    folder = tmp_path / "project"
    if means == "slow storage":
        project = real_project(SLOW, compression="none")
    else:
        project = real_project(compression="bz2")
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "lbzip2").write_text(STUCK.format(folder=folder))
        (programs / "lbzip2").chmod(0o755)
        project.path = f"{programs}:{project.path}"
    with project.start("backup_create") as process:
        try:
            wait_until((folder / "writing").exists)
            assert [file for file in project.stored() if file.endswith(".part")]
            process.send_signal(number)
            _, stderr = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert project.stored() == []
    ((state, recorded),) = sql(project, RUNS)
    assert state == "failed"
    assert message in str(recorded)
    if means == "stuck program":
        family = [int(pid) for pid in (folder / "writing").read_text().split()]
        wait_until(lambda: not any(map(is_running, family)))


def test_a_killed_backup_publishes_nothing(real_project: MakeProject) -> None:
    """kill -9 leaves a hidden part and a run that is still called running; the next backup works."""
    project = real_project(SLOW, compression="none")
    with project.start("backup_create") as process:
        wait_until((project.folder / "writing").exists)
        process.kill()
    (part,) = project.stored()
    assert part.startswith(".")
    assert part.endswith(".part")
    settings = project.folder / "settings.py"
    settings.write_text(settings.read_text().replace(SLOW, ""))
    assert json.loads(project.run("backup_list", "--json").stdout) == []
    assert project.run("backup_create").returncode == 0
    assert len(json.loads(project.run("backup_list", "--json").stdout)) == 1


def test_the_default_answer_at_a_terminal_is_no(real_project: MakeProject) -> None:
    """Only a yes replaces the database."""
    project = real_project()
    with closing(sqlite3.connect(project.database)) as connection, connection:
        connection.execute("INSERT INTO django_content_type (id, app_label, model) VALUES (9999, 'shop', 'book')")
    assert project.run("backup_create").returncode == 0
    with closing(sqlite3.connect(project.database)) as connection, connection:
        connection.execute("DELETE FROM django_content_type WHERE id = 9999")
    before = project.database.read_bytes()
    for typed in (b"\n", b"n\n", b"yes please\n"):
        said = answered(project, typed, 1)
        assert b"Nothing was done." in said
        assert b"Error" not in said, "an answer is no error"
        assert b"\x1b[" not in said.partition(b"[y/N]")[2], "it is in no colour"
        assert project.database.read_bytes() == before
    answered(project, b"y\n", 0)
    assert sql(project, "SELECT count(*) FROM django_content_type WHERE id = 9999") == [(1,)]


def answered(project: RealProject, typed: bytes, code: int) -> bytes:
    """What a restore says when somebody has *typed* that, and ends with *code*."""
    with terminal(project, "backup_restore") as (ours, process):
        assert b"Replace the database 'default' with it? [y/N]" in read_until(ours, b"[y/N]")
        os.write(ours, typed)
        said = read_until(ours, b"\0")
        assert process.wait(timeout=20) == code, said
    return said


LOST = "The command has ended well; what it printed is lost: No space left on device."


@pytest.mark.parametrize(
    ("redirection", "code", "words", "then"),
    [
        (">&-", 0, "", []),
        ("2>&-", 0, "", []),
        (">&- 2>&-", 0, "", ["backup_restore latest --yes"]),
        (">/dev/full", 1, LOST, ["backup_list", "backup_restore latest --yes"]),
        ("--json >/dev/full", 1, LOST, ["backup_list"]),
        (">/dev/full 2>/dev/full", 1, "", ["backup_restore latest --yes"]),
        ("| head -c1 >/dev/null; exit ${PIPESTATUS[0]}", 0, "", ["backup_list"]),
    ],
)
def test_a_broken_output_does_not_stop_a_backup(
    real_project: MakeProject, redirection: str, code: int, words: str, then: list[str]
) -> None:
    """Neither a closed terminal nor a full disk under the log stops it, nor another command."""
    project = real_project()
    for command in ("backup_create", *then):
        done = project.shell(f"{command} {redirection}")
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert words in done.stderr
        assert len(project.stored()) == 2, command


def test_wrong_arguments_with_json_are_a_document(real_project: MakeProject) -> None:
    project = real_project()
    done = project.run("backup_show", "--json", "--nosuch")
    assert done.returncode == 2
    assert "NAME" in json.loads(done.stdout)["error"]
    assert "usage:" in done.stderr


def test_a_restored_history_with_its_own_backup_as_running(real_project: MakeProject) -> None:
    """A backup of the database that holds the history holds its own row, as running. It keeps nothing waiting."""
    project = real_project()
    for command in (["backup_create"], ["backup_restore", "latest", "--yes"], ["backup_create"]):
        done = project.run(*command)
        assert done.returncode == 0, done.stderr
    assert [state for state, _ in sql(project, RUNS)] == ["succeeded"] * 3


def test_a_run_without_its_lock_is_not_waited_for(
    tmp_path: Path, real_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends between two steps may remove its lock and leave its row. No run waits for it."""
    temporary = tmp_path / "temporary"  # in the usual one, the locks of other tests would go as well
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    project = real_project(SLOW)
    with project.start("backup_create") as process:
        wait_until((project.folder / "writing").exists)
        process.kill()
    (lock,) = temporary.glob("django-cfg-lock-*")
    lock.unlink()
    (project.folder / "settings.py").write_text((project.folder / "settings.py").read_text().replace(SLOW, ""))
    done = project.run("backup_create")
    assert done.returncode == 0, done.stderr


class TestProgress:
    """Progress: a bar at a terminal, plain lines elsewhere."""

    @pytest.fixture
    def project(self, real_project: MakeProject) -> RealProject:
        return real_project()

    @pytest.mark.parametrize("command", ["backup_create", "backup_verify"])
    def test_a_terminal_shows_a_progress_bar(self, project: RealProject, command: str) -> None:
        project.run("backup_create")
        with terminal(project, command) as (ours, process):
            said = read_until(ours, b"\0")
            assert process.wait(timeout=20) == 0, said
        assert b"%|" in said
        assert b"B/s]" in said
        assert b"\r" in said.replace(b"\r\n", b"")
        assert re.search(rb" in (less than 0\.1|0\.\d) s, ", said), "at its end the bar gives way to a line that stays"

    @pytest.mark.parametrize("command", ["backup_create", "backup_verify"])
    def test_without_a_terminal_progress_is_plain_lines(self, project: RealProject, command: str) -> None:
        """A log of cron or systemd has no place for bars."""
        project.run("backup_create")
        done = project.run(command)
        assert done.returncode == 0, done.stderr
        assert "\r" not in done.stdout + done.stderr
        assert "|" not in done.stderr
        assert done.stderr.endswith("/s\n")

    def test_with_verbosity_0_no_progress_is_printed(self, project: RealProject) -> None:
        assert project.run("backup_create", "--verbosity", "0").stderr == ""
