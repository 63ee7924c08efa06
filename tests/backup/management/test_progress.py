"""How far a command is: a bar where a person watches, plain lines elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.real_project import RealProject
from tests.support.terminal import read_until, terminal


@pytest.fixture
def project(tmp_path: Path, migrated_database: Path) -> RealProject:
    return RealProject(tmp_path / "project", migrated_database)


@pytest.mark.parametrize("command", ["backup_create", "backup_verify"])
def test_at_a_terminal_a_bar_is_drawn_over_and_over(project: RealProject, command: str) -> None:
    project.run("backup_create")
    with terminal(project, command) as (ours, process):
        said = read_until(ours, b"\0")
        assert process.wait(timeout=20) == 0, said
    assert b"%|" in said
    assert b"B/s]" in said
    assert b"\r" in said.replace(b"\r\n", b"")
    assert re.search(rb" in (less than 0\.1|0\.\d) s, ", said), "at its end the bar gives way to a line that stays"


@pytest.mark.parametrize("command", ["backup_create", "backup_verify"])
def test_elsewhere_there_are_plain_lines(project: RealProject, command: str) -> None:
    """A log of cron or systemd has no place for bars."""
    project.run("backup_create")
    done = project.run(command)
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stdout + done.stderr
    assert "|" not in done.stderr
    assert done.stderr.endswith("/s\n")


def test_nothing_is_told_when_nothing_shall_be(project: RealProject) -> None:
    assert project.run("backup_create", "--verbosity", "0").stderr == ""
