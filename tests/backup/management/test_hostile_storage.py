"""A malformed object in the storage never hides good backups, and its content never controls the terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.manifest import MAX_NOTE, MAX_STORED, Manifest, Proof, proof_key
from django_cfg.backup.services.project import clock
from tests.support.django_project import Site

# Exit codes: 0, or 4 where the command reports what it found.
COMMANDS = (
    "backup_list", "backup_list --all", "backup_list --json --all", "backup_status", "backup_status --json",
    "backup_show {good}", "backup_verify {good}", "backup_prune --dry-run", "backup_prune --leftovers --dry-run",
    "backup_pin {good}", "backup_check", "backup_restore {good} --yes", "backup_create",
)  # fmt: skip
EVIL = "x\x1b[2J\x1b]0;title\x07\nforged line \u202e"

Change = Callable[[dict[str, Any]], None]


def archive(**values: Any) -> Change:
    return lambda manifest: manifest["archive"].update(values)


def top(**values: Any) -> Change:
    return lambda manifest: manifest.update(values)


def engine(**values: Any) -> Change:
    return lambda manifest: manifest["engine"].update(values)


DAMAGED: dict[str, Change] = {
    "NUL in a key": archive(key="bad_20250101_000000_test.\0x"),
    "an escape in a key": archive(key="bad_20250101_000000_test.\x1bx"),
    "year 1": top(started_at="0001-01-01T00:00:00Z"),
    "year 1, west": top(started_at="0001-01-01T00:00:00+14:00"),
    "year 9999": top(finished_at="9999-12-31T23:59:59Z"),
    "before computers": top(started_at="1969-12-31T23:59:59Z"),
    "a huge number": archive(raw_size=10**4000),
    "a large number": archive(size=2**63),
    "no number": archive(size=float("nan")),
    "rows without end": top(tables=[{"name": "t", "rows": 10**300, "exact": True}]),
    "half a character in the note": top(note="\ud800"),
    "half a character in the source": top(source={"project": "\udfff", "env": "e", "database": "d"}),
    "a long note": top(note="n" * (MAX_NOTE + 1)),
    "a line more in the source": top(source={"project": "p\nforged line", "env": "test", "database": "default"}),
    "a host that clears the screen": top(host=EVIL),
    "a server that clears the screen": engine(server_version=EVIL),
    "tables that are none": top(tables={"t": 1}),
    "a list": lambda manifest: manifest.clear(),
}


@pytest.fixture
def good(site: Site, books: Path) -> Manifest:
    site.configure(retention={"enabled": False})
    return site.create()


def forge(site: Site, good: Manifest, change: Change, name: str = "bad_20250101_000000_test") -> None:
    """Store another backup, as an attacker would: complete except for *change*."""
    content = json.loads((site.backups / good.key).read_text())
    content["name"] = name
    content["archive"]["key"] = f"{name}.sqlite3.gz"
    content["started_at"] = content["finished_at"] = "2025-01-01T00:00:00Z"
    (site.backups / content["archive"]["key"]).write_bytes((site.backups / good.archive_key).read_bytes())
    change(content)
    (site.backups / f"{name}.json").write_text(json.dumps(content))


def assert_good_backup_is_usable(site: Site, good: Manifest, *, is_reported: bool = True) -> None:
    for command in COMMANDS:
        answer = site.call(*command.format(good=good.name).split())
        assert answer.code in (0, 4), f"{command}: {answer.stderr}"
        printed = answer.stdout + answer.stderr
        assert all(char.isprintable() or char == "\n" for char in printed), command
        assert not any(line.startswith("forged line") for line in printed.splitlines()), command
        if command == "backup_list":
            assert good.name in answer.stdout
            assert not is_reported or "Not a usable backup" in answer.stderr


@pytest.mark.parametrize("what", DAMAGED)
def test_an_unusable_manifest_hides_no_backup(site: Site, good: Manifest, what: str) -> None:
    # west of Greenwich the first year has no local time
    site.set(TIME_ZONE="America/Los_Angeles")
    forge(site, good, DAMAGED[what])
    assert_good_backup_is_usable(site, good)


HARMLESS: dict[str, Change] = {
    "a note that clears the screen": top(note=EVIL),
    "a command that hides its end": top(restore_hint=f"rm -rf / #{EVIL}"),
    "a table that adds a line": top(tables=[{"name": EVIL, "rows": 1, "exact": True}]),
    "roles and tables left out": lambda manifest: (
        manifest.update(excluded=[EVIL]), manifest["engine"].update(roles=[EVIL])
    )[0],
    "migrations and packages": top(migrations={EVIL: EVIL}, packages={EVIL: EVIL}),
}  # fmt: skip


@pytest.mark.parametrize("what", HARMLESS)
def test_terminal_control_characters_are_escaped(site: Site, good: Manifest, what: str) -> None:
    name = "evil_20250101_000000_test"
    forge(site, good, HARMLESS[what], name)
    assert_good_backup_is_usable(site, good, is_reported=False)
    for command in ("backup_show", "backup_verify", "backup_download", "backup_restore"):
        options = {"backup_download": ["--output", str(site.root / "out")], "backup_restore": ["--yes"]}.get(
            command, []
        )
        answer = site.call(command, name, *options)
        printed = answer.stdout + answer.stderr
        assert all(char.isprintable() or char == "\n" for char in printed), command
        assert not any(line.startswith("forged line") for line in printed.splitlines()), command


PROOFS: dict[str, dict[str, Any]] = {
    "lasts for ever": {"duration": float("inf")},
    "lasts longer than a number": {"duration": 10**400},
    "year 1": {"at": "0001-01-01T00:00:00Z"},
    "year 9999": {"at": "9999-12-31T23:59:59Z"},
    "rows without end": {"rows": 10**300},
    "half a character": {"server_version": "\ud800"},
    "a host that clears the screen": {"host": EVIL},
    "differences that clear the screen": {"succeeded": False, "differences": [EVIL]},
}


@pytest.mark.parametrize("what", PROOFS)
def test_an_unusable_proof_hides_no_backup(site: Site, good: Manifest, what: str) -> None:
    site.set(TIME_ZONE="America/Los_Angeles")
    proof = Proof(name=good.name, archive_sha256=good.archive.sha256, at=clock.now(), duration=1, succeeded=True)
    content = proof.document | PROOFS[what]
    (site.backups / proof_key(good.name, clock.now())).write_text(json.dumps(content))
    assert_good_backup_is_usable(site, good, is_reported=False)


FILES = {
    "a file whose name is no text": b"bad_\xff.json",
    "a file whose name adds a line": b"bad\nforged line.json",
    "a leftover that clears the screen": b"default_20250101_000000_test\x1b[2J\nforged line.sqlite3.gz",
}


@pytest.mark.parametrize("what", FILES)
def test_an_unusable_name_hides_no_backup(site: Site, good: Manifest, what: str) -> None:
    (site.backups / os.fsdecode(FILES[what])).write_bytes(b"{}")
    assert_good_backup_is_usable(site, good, is_reported=FILES[what].endswith(b".json"))


def test_an_oversized_manifest_is_not_read(site: Site, good: Manifest) -> None:
    """Its size alone decides."""
    path = site.backups / "huge_20250101_000000_test.json"
    path.touch()
    os.truncate(path, MAX_STORED + 1)
    answer = site.call("backup_list")
    assert answer.code == 0
    assert f"has {MAX_STORED + 1:,} bytes" in answer.stderr
    assert_good_backup_is_usable(site, good)


def test_an_overlong_note_is_refused_before_the_dump(site: Site, books: Path) -> None:
    answer = site.call("backup_create", "--note", "n" * (MAX_NOTE + 1))
    assert answer.code == 2
    assert "10,001 characters" in answer.stderr
    assert not site.backups.exists() or site.stored() == []
