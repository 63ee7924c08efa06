"""Private folders: whose process lives stay, whose process died are removed by the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.backup.errors import StorageError
from django_cfg.backup.pipeline.private import holds_lock, open_lock, private_folder


def test_it_is_the_owners_alone_and_goes_with_the_block(tmp_path: Path) -> None:
    with private_folder("t-", tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "data").touch()
    assert list(tmp_path.iterdir()) == []


def test_one_in_use_is_locked_and_stays(tmp_path: Path) -> None:
    with private_folder("t-", tmp_path) as first:
        with open_lock(first) as lock:
            assert not holds_lock(lock, first)
        with private_folder("t-", tmp_path) as second:
            assert first != second
        assert list(tmp_path.iterdir()) == [first]


def test_dead_ones_are_told_their_end_and_removed(tmp_path: Path) -> None:
    """Those of the same kind only; one that is being made has no lock yet."""
    dead, other, being_made = (tmp_path / name for name in ("t-dead", "u-dead", "t-new"))
    for folder in (dead, other, being_made):
        folder.mkdir()
        (folder / "data").touch()
    (dead / "lock").touch()
    (other / "lock").touch()
    (being_made / "lock.new").touch()
    ended: list[Path] = []
    with private_folder("t-", tmp_path, ended.append) as folder:
        assert ended == [dead]
    assert ended == [dead, folder]
    assert sorted(tmp_path.iterdir()) == [being_made, other]


def test_without_a_usable_place_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Set TMPDIR to a usable place"), private_folder("t-", tmp_path / "nosuch"):
        pass
