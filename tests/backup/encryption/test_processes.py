"""The commands as processes: a real terminal, real pipes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.gnupg_home import Laptop
from tests.support.processes import wait_until
from tests.support.real_project import SLOW, MakeProject
from tests.support.sealed_bytes import PASSPHRASE, processes_in
from tests.support.terminal import read_until, terminal


class TestAtATerminal:
    """A real process, a real terminal; the passphrase is not shown."""

    def test_the_passphrase_of_a_locked_key_is_asked_for(
        self, laptop: Laptop, key: Path, real_project: MakeProject, temporary: Path
    ) -> None:
        public = laptop.home.public(laptop.protected)
        project = real_project(encryption_key=public)
        assert project.run("backup_create").returncode == 0
        with terminal(project, "backup_verify", "--private-key", str(key)) as (ours, process):
            assert b"Passphrase of" in read_until(ours, b": ")
            os.write(ours, laptop.PASSPHRASE.encode() + b"\n")
            said = read_until(ours, b"\0")
            assert process.wait(timeout=20) == 0, said
        assert b": good" in said
        assert laptop.PASSPHRASE.encode() not in said
        wait_until(lambda: not processes_in(temporary))

    def test_an_open_key_is_not_asked_for(self, laptop: Laptop, tmp_path: Path, real_project: MakeProject) -> None:
        key = tmp_path / "open.asc"
        key.write_text(laptop.home.private(laptop.good))
        project = real_project(encryption_key=laptop.public)
        assert project.run("backup_create").returncode == 0
        with terminal(project, "backup_verify", "--private-key", str(key)) as (ours, process):
            said = read_until(ours, b"\0")
            assert process.wait(timeout=20) == 0, said
        assert b"Passphrase" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_backup_leaves_nothing(
    real_project: MakeProject, temporary: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """No object, no partial upload, no gpg home and no gpg process."""
    monkeypatch.setenv("TMPDIR", str(temporary))
    project = real_project(SLOW, encryption_key=PASSPHRASE)
    with project.start("backup_create") as process:
        try:
            wait_until((project.folder / "writing").exists)
            assert list(temporary.glob("django-cfg-gpg-*"))
            process.send_signal(number)
            _, stderr = process.communicate(timeout=20)
        finally:
            process.kill()
    assert "Unfinished work has been rolled back." in stderr
    assert project.stored() == []
    assert list(temporary.iterdir()) == []
    wait_until(lambda: not processes_in(temporary))


def test_the_passphrase_can_come_from_a_pipe(laptop: Laptop, key: Path, real_project: MakeProject) -> None:
    """``--passphrase-fd 0``, as in a script."""
    project = real_project(encryption_key=laptop.home.public(laptop.protected))
    assert project.run("backup_create").returncode == 0
    arguments = ("backup_verify", "--private-key", str(key), "--passphrase-fd", "0")
    with project.start(*arguments, stdin=subprocess.PIPE) as process:
        stdout, stderr = process.communicate(laptop.PASSPHRASE + "\n", timeout=60)
    assert process.returncode == 0, stderr
    assert ": good" in stdout
