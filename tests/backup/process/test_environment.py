"""The environment of child processes: everything except the secrets of the settings."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup.process.child import Child
from django_cfg.backup.process.environment import child_environment, hide_from_children
from tests.support.django_project import Site

LONG = "correct horse battery staple"


@pytest.fixture(autouse=True)
def nothing_hidden() -> Iterator[None]:
    hide_from_children([])
    yield
    hide_from_children([])


@pytest.mark.parametrize(
    "value",
    ["bin", LONG, f"a {LONG} b", "postgresql://app:bin@db/shop", "postgresql://app:p%40ss@db/shop", "p@ss"],
)
def test_secrets_of_the_settings_are_left_out(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OF_THE_SITE", value)
    hide_from_children(["bin", LONG, "p@ss"])
    assert "OF_THE_SITE" not in child_environment()


@pytest.mark.parametrize("value", ["/usr/bin:/bin", "cabin", "http://binary.example.com:80/bin", ""])
def test_other_variables_are_kept(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A short password may be part of a path by chance."""
    monkeypatch.setenv("OF_THE_SITE", value)
    hide_from_children(["bin", LONG])
    assert child_environment()["OF_THE_SITE"] == value
    assert child_environment()["PATH"] == os.environ["PATH"]


def test_programs_and_their_children_do_not_inherit_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSPHRASE", LONG)
    monkeypatch.setenv("HARMLESS", "yes")
    hide_from_children([LONG])
    with Child(["sh", "-c", "sh -c env"]) as child:
        printed = child.stdout.read().decode()
        child.wait()
    assert "HARMLESS=yes" in printed
    assert LONG not in printed


def test_gpg_does_not_inherit_the_passphrase(
    site: Site, books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings take it from a variable, as they should."""
    programs, seen = tmp_path / "programs", tmp_path / "seen"
    programs.mkdir()
    (programs / "gpg").write_text(f'#!/bin/sh\nenv >> {seen}\nexec {shutil.which("gpg")} "$@"\n')
    (programs / "gpg").chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("BACKUP_PASSPHRASE", LONG)
    site.configure(encryption_key="${BACKUP_PASSPHRASE}")
    name = site.create().name
    assert site.call("backup_verify", name).code == 0
    assert "PATH=" in seen.read_text()
    assert LONG not in seen.read_text()
