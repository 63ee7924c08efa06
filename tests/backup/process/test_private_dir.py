"""Private folders: those of running processes stay, those of dead processes are removed by the next one."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock, patch

import pytest

from django_cfg.backup.errors import StorageError
from django_cfg.backup.process.private_dir import open_lock, private_dir, take_lock


def test_the_folder_is_private_and_is_removed_with_the_block(tmp_path: Path) -> None:
    with private_dir("t-", tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "data").touch()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_locked_and_stays(tmp_path: Path) -> None:
    with private_dir("t-", tmp_path) as first:
        with open_lock(first) as lock:
            assert not take_lock(lock, first)
        with private_dir("t-", tmp_path) as second:
            assert first != second
        assert list(tmp_path.iterdir()) == [first]


def test_folders_of_dead_processes_are_cleaned_up_and_removed(tmp_path: Path) -> None:
    """Only folders of the same kind; a folder that is being created has no lock yet."""
    dead, other, being_made = (tmp_path / name for name in ("t-dead", "u-dead", "t-new"))
    for folder in (dead, other, being_made):
        folder.mkdir()
        (folder / "data").touch()
    (dead / "lock").touch()
    (other / "lock").touch()
    (being_made / "lock.new").touch()
    ended: list[Path] = []
    with private_dir("t-", tmp_path, ended.append) as folder:
        assert ended == [dead]
    assert ended == [dead, folder]
    assert sorted(tmp_path.iterdir()) == [being_made, other]


@pytest.mark.parametrize("content", [[], ["lock.new"]], ids=["removed", "made"])
def test_a_folder_whose_process_was_killed_during_creation_or_removal(tmp_path: Path, content: list[str]) -> None:
    """It has no lock, and is abandoned after a while; it is removed only if it is empty."""
    left, new, full = (tmp_path / name for name in ("t-left", "t-new", "t-full"))
    for folder in (left, new, full):
        folder.mkdir()
        for name in content:
            (folder / name).touch()
    (full / "data").touch()
    hours_ago = time.time() - 2 * 3600
    for folder in (left, full):
        os.utime(folder, (hours_ago, hours_ago))
    with private_dir("t-", tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == [full, new]
    assert (full / "data").exists()


def test_without_a_usable_parent_folder_there_is_no_private_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Set TMPDIR to a usable place"), private_dir("t-", tmp_path / "nosuch"):
        pass


def test_many_folders_can_be_removed_at_the_same_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each looks for the folders of dead processes while others remove their own."""

    def come_and_go(number: int) -> None:
        for _ in range(200):
            with private_dir("t-", tmp_path) as folder:
                (folder / "data").touch()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, range(4)))
    assert list(tmp_path.iterdir()) == []
    assert caplog.text == ""


def test_an_interrupted_removal_is_finished_by_the_next(tmp_path: Path) -> None:
    """The lock is removed last: a folder without one counts as being created."""
    with patch("os.unlink", wraps=os.unlink) as removed, private_dir("t-", tmp_path) as folder:
        for number in range(30):
            (folder / f"data{number}").touch()
    assert len(removed.mock_calls) == 31
    assert Path(removed.mock_calls[-1].args[0]).name == "lock"


def test_a_folder_that_cannot_be_removed_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A finished backup does not fail because of its temporary folder."""
    with patch("shutil.rmtree", side_effect=OSError("in use")), private_dir("t-", tmp_path) as folder:
        (folder / "data").mkdir()
    assert f"{folder} could not be removed (in use)" in caplog.text


def test_an_interrupted_cleanup_leaves_nothing(tmp_path: Path) -> None:
    """A gpg home holds keys, and the cleanup waits for its agent."""
    end = Mock(side_effect=KeyboardInterrupt)
    with suppress(KeyboardInterrupt), private_dir("t-", tmp_path, end) as folder:
        (folder / "secret").touch()
    assert end.called
    assert list(tmp_path.iterdir()) == []


def test_a_failing_block_runs_the_cleanup(tmp_path: Path) -> None:
    ended: list[Path] = []
    with suppress(KeyboardInterrupt), private_dir("t-", tmp_path, ended.append) as folder:
        raise KeyboardInterrupt
    assert ended == [folder]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_removed_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Except the lock: the next run tries again, and logs it again."""
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "stays":
            raise OSError("in use")
        unlink(path, missing_ok=missing_ok)

    with patch.object(Path, "unlink", refuse):
        with private_dir("t-", tmp_path) as folder:
            for name in ("a", "stays", "z"):
                (folder / name).touch()
        assert sorted(path.name for path in folder.iterdir()) == ["lock", "stays"]
        with private_dir("t-", tmp_path):
            pass
        assert caplog.text.count(f"{folder} could not be removed (in use)") == 2
    with private_dir("t-", tmp_path):
        assert not folder.exists()


def test_the_lock_is_closed_before_the_folder_is_removed(tmp_path: Path) -> None:
    """A network file system keeps an open file under another name, so the folder could not be removed."""
    seen = []
    with (
        patch("os.close", wraps=os.close) as close,
        patch("os.rmdir", side_effect=lambda path: seen.append((path, close.called))),
        private_dir("t-", tmp_path) as folder,
    ):
        assert not close.called
    assert seen == [(folder, True)]


def test_an_unreadable_parent_folder_is_cleaned_up_later(tmp_path: Path) -> None:
    with patch.object(Path, "glob", side_effect=OSError("stale")), private_dir("t-", tmp_path) as folder:
        assert folder.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    (tmp_path / "t-link").symlink_to(elsewhere)
    with private_dir("t-", tmp_path):
        assert (elsewhere / "lock").exists()
