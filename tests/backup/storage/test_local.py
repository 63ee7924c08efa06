"""The local storage: the contract of every storage, and the promises of a folder of files."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, NotEnoughSpace, StorageError
from django_cfg.backup.process.pipes import BLOCK
from django_cfg.backup.storage import open_storage
from django_cfg.backup.storage.local import LocalStorage
from django_cfg.backup.storage.local.direct_io import UncachedFile
from tests.backup.storage.storage_contract import StorageContract
from tests.support.unprivileged import Unprivileged

OPEN = "from pathlib import Path; from django_cfg.backup.storage.local.storage import LocalStorage"
NO_HARD_LINKS = [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK]


class TestLocalStorage(StorageContract):
    """On a file system with hard links."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        return LocalStorage(tmp_path / "backups")

    @pytest.fixture
    def reopen(self, storage: LocalStorage) -> str:
        return f"{OPEN}; storage = LocalStorage(Path({storage.location!r}))"


class TestLocalStorageWithoutHardLinks(StorageContract):
    """As on FAT and some network file systems: nothing is overwritten there either."""

    @pytest.fixture
    def storage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStorage:
        refuse_links(monkeypatch, errno.EPERM)
        return LocalStorage(tmp_path / "backups")

    @pytest.fixture
    def reopen(self, storage: LocalStorage) -> str:
        return f"""{OPEN}
def link(*args): raise PermissionError({errno.EPERM}, "no hard links")
os.link = link
storage = LocalStorage(Path({storage.location!r}))"""


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Fail as a file system without hard links does."""

    def link(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("number", NO_HARD_LINKS, ids=errno.errorcode.get)
def test_every_error_for_missing_hard_links_is_understood(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """FAT, network file systems and FUSE raise different errors."""
    refuse_links(monkeypatch, number)
    storage.write("shop.gz", b"x")
    assert (storage.read("shop.gz"), mode(storage.root / "shop.gz"), files(storage.root)) == (b"x", 0o600, ["shop.gz"])


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "backups")


def files(folder: Path) -> list[str]:
    """All of them, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestPrivacy:
    @pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
    def _umask(self, request: pytest.FixtureRequest) -> Iterator[None]:
        old = os.umask(request.param)
        yield
        os.umask(old)

    @pytest.mark.usefixtures("_umask")
    def test_folders_and_files_are_private(self, storage: LocalStorage) -> None:
        """Whatever the umask is, during and after writing."""
        with storage.publish("2026/10/shop.gz") as sink:
            sink.write(b"x")
            (part,) = files(storage.root)
            assert mode(storage.root / part) == 0o600
        assert mode(storage.root / "2026/10/shop.gz") == 0o600
        assert [mode(storage.root / folder) for folder in (".", "2026", "2026/10")] == [0o700] * 3

    def test_an_existing_folder_keeps_its_mode(self, storage: LocalStorage) -> None:
        """Its owner may share it with a group that fetches the backups."""
        storage.root.mkdir()
        storage.root.chmod(0o750)
        storage.write("shop.gz", b"x")
        assert mode(storage.root) == 0o750


class TestUnfinished:
    def test_the_partial_file_is_hidden_next_to_its_final_name(self, storage: LocalStorage) -> None:
        """So that publishing stays within one folder, and the name shows its purpose."""
        with storage.publish("2026/shop.gz") as sink:
            sink.write(b"x")
            (part,) = files(storage.root)
            assert re.fullmatch(r"2026/\.shop\.gz\.[0-9a-f]{32}\.part", part)
        assert files(storage.root) == ["2026/shop.gz"]

    def test_an_exception_leaves_no_file(self, storage: LocalStorage) -> None:
        with pytest.raises(KeyboardInterrupt), storage.publish("shop.gz") as sink:  # noqa: PT012
            sink.write(bytes(BLOCK))
            raise KeyboardInterrupt
        assert files(storage.root) == []

    def test_an_interrupted_fsync_leaves_no_file(self, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may wait for a slow disk, and get a second signal."""
        close = UncachedFile.close

        def interrupted(file: UncachedFile) -> None:
            close(file)
            raise KeyboardInterrupt

        monkeypatch.setattr(UncachedFile, "close", interrupted)
        with pytest.raises(KeyboardInterrupt), storage.publish("shop.gz") as sink:  # noqa: PT012
            sink.write(b"x")
            raise StorageError("broken")
        assert files(storage.root) == []

    def test_a_name_taken_in_the_meantime_leaves_no_partial_file(self, storage: LocalStorage) -> None:
        with pytest.raises(StorageError), storage.publish("shop.gz"):
            storage.write("shop.gz", b"x")
        assert files(storage.root) == ["shop.gz"]

    def test_hidden_files_of_other_programs_are_not_listed(self, storage: LocalStorage) -> None:
        """Nor files in hidden folders, such as snapshots."""
        storage.write("shop.gz", b"x")
        (storage.root / ".nfs0001").write_bytes(b"x")
        (storage.root / ".snapshot").mkdir()
        (storage.root / ".snapshot" / "old.json").write_bytes(b"x")
        assert [found.key for found in storage.list()] == ["shop.gz"]


class TestFullDisk:
    def test_the_error_has_both_sizes_and_nothing_is_left(self, small_disk: Path) -> None:
        """Needed is the expected size, free is the free space of the file system."""
        storage = LocalStorage(small_disk / "backups")
        with pytest.raises(NotEnoughSpace) as caught, storage.publish("shop.gz", expected_size=5_000_000) as sink:  # noqa: PT012
            for _ in range(5):
                sink.write(bytes(1_000_000))
        assert re.search(r"Not enough space in .*/backups: 5\.0 MB needed, [\d,]+ bytes free\.", str(caught.value))
        assert "local_path" in str(caught.value)
        assert files(small_disk) == []

    def test_the_error_has_a_minimum_for_an_unknown_size(self, small_disk: Path) -> None:
        """At least the bytes that were to be written."""
        storage = LocalStorage(small_disk)
        with pytest.raises(NotEnoughSpace, match=r"[2-5]\.\d MB needed"), storage.publish("shop.gz") as sink:  # noqa: PT012
            for _ in range(50):
                sink.write(bytes(100_000))
        assert files(small_disk) == []

    def test_no_space_for_the_last_bytes(self, small_disk: Path) -> None:
        """The disk is full when the last buffer is written at the end of the block."""
        (small_disk / "filler").write_bytes(bytes(900_000))
        storage = LocalStorage(small_disk)
        with pytest.raises(NotEnoughSpace), storage.publish("shop.gz") as sink:  # noqa: PT012
            with (small_disk / "more").open("wb", buffering=0) as more:
                while more.write(bytes(4096)) == 4096:
                    if os.statvfs(small_disk).f_bfree == 0:
                        break
            sink.write(b"a few bytes")
        assert files(small_disk) == ["filler", "more"]

    def test_the_storage_works_again_when_there_is_room(self, small_disk: Path) -> None:
        storage = LocalStorage(small_disk)
        with pytest.raises(NotEnoughSpace):
            storage.write("shop.gz", bytes(2_000_000))
        storage.write("shop.gz", bytes(500_000))
        assert files(small_disk) == ["shop.gz"]


USES: dict[str, Callable[[LocalStorage], object]] = {
    "publish": lambda storage: storage.write("folder/new.gz", b"x"),
    "open": lambda storage: storage.read("folder/shop.gz"),
    "stat": lambda storage: storage.stat("folder/shop.gz"),
    "list": lambda storage: list(storage.list()),
    "delete": lambda storage: storage.delete("folder/shop.gz"),
    "is_taken": lambda storage: storage.is_taken("folder/shop"),
}


class TestUnreadable:
    """Root reads everything, so root becomes an unprivileged user in these tests."""

    @pytest.fixture
    def storage(self, open_folder: Path) -> LocalStorage:
        storage = LocalStorage(open_folder / "backups")
        storage.write("folder/shop.gz", b"x")
        (storage.root).chmod(0o755)
        return storage

    @pytest.mark.parametrize("use", USES)
    @pytest.mark.parametrize("closed", ["backups", "backups/folder"])
    def test_every_method_raises_an_error_that_names_the_storage(
        self, storage: LocalStorage, use: str, closed: str, open_folder: Path, unprivileged: Unprivileged
    ) -> None:
        """Above all ``list``, which must not return an empty list."""
        (open_folder / closed).chmod(0o000)
        with unprivileged(), pytest.raises(StorageError, match=r"Permission denied\.$") as caught:
            USES[use](storage)
        assert storage.location in str(caught.value)
        (open_folder / closed).chmod(0o700)
        assert files(storage.root) == ["folder/shop.gz"]

    @pytest.mark.parametrize("use", ["publish", "delete"])
    def test_writing_to_a_read_only_folder_is_an_error(
        self, storage: LocalStorage, use: str, unprivileged: Unprivileged
    ) -> None:
        (storage.root / "folder").chmod(0o555)
        with unprivileged(), pytest.raises(StorageError, match="Permission denied"):
            USES[use](storage)
        assert files(storage.root) == ["folder/shop.gz"]

    def test_a_file_without_read_permission_is_an_error(
        self, storage: LocalStorage, unprivileged: Unprivileged
    ) -> None:
        """It is listed, and opening it raises an error with the reason."""
        (storage.root / "folder").chmod(0o755)
        (storage.root / "folder/shop.gz").chmod(0o000)
        with unprivileged():
            assert [found.key for found in storage.list()] == ["folder/shop.gz"]
            with pytest.raises(StorageError, match=r"Could not read .*shop\.gz: Permission denied"):
                storage.read("folder/shop.gz")


class TestMisplaced:
    @pytest.mark.parametrize("use", ["publish", "list", "is_taken"])
    def test_a_path_that_is_a_file_is_an_error(self, tmp_path: Path, use: str) -> None:
        """It names the file, and the file stays."""
        path = tmp_path / "backups"
        path.write_text("a file")
        with pytest.raises(StorageError, match=str(path)):
            {**USES, "publish": lambda s: s.write("new.gz", b"x"), "is_taken": lambda s: s.is_taken("new")}[use](
                LocalStorage(path)
            )
        assert path.read_text() == "a file"

    @pytest.mark.parametrize("use", ["publish", "list", "is_taken"])
    def test_a_path_below_a_file_is_an_error(self, tmp_path: Path, use: str) -> None:
        (tmp_path / "file").write_text("a file")
        with pytest.raises(StorageError, match=str(tmp_path / "file")):
            USES[use](LocalStorage(tmp_path / "file" / "backups"))

    def test_a_name_longer_than_the_system_allows_is_an_error(self, storage: LocalStorage) -> None:
        with pytest.raises(StorageError, match="File name too long"):
            storage.write("a" * 300, b"x")
        assert files(storage.root) == []

    def test_a_failed_rename_leaves_no_empty_object(
        self, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without hard links the name is reserved by an empty file, which must not stay there."""

        def rename(*args: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        refuse_links(monkeypatch, errno.EPERM)
        monkeypatch.setattr(os, "rename", rename)
        with pytest.raises(StorageError, match="Input/output error"):
            storage.write("shop.gz", b"x")
        assert files(storage.root) == []


class TestOpenStorage:
    def test_a_relative_path_starts_at_the_base_folder(self, tmp_path: Path) -> None:
        assert open_storage(BackupStorageConfig(local_path="kept/here"), tmp_path).location == str(
            tmp_path / "kept/here"
        )

    def test_an_absolute_path_is_used_unchanged(self, tmp_path: Path) -> None:
        config = BackupStorageConfig(local_path=str(tmp_path / "kept"))
        assert open_storage(config, Path("/elsewhere")).location == str(tmp_path / "kept")
        assert open_storage(config, None).location == str(tmp_path / "kept")

    def test_a_relative_path_needs_a_base_folder(self) -> None:
        """The working directory is not used: it differs under cron."""
        with pytest.raises(ConfigurationError, match="BASE_DIR"):
            open_storage(BackupStorageConfig(), None)

    def test_nothing_is_created_before_the_first_backup(self, tmp_path: Path) -> None:
        assert list(open_storage(BackupStorageConfig(), tmp_path).list()) == []
        assert list(tmp_path.iterdir()) == []


def test_a_published_file_is_flushed_to_disk(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is flushed before it gets its name, the folder after it: both survive a power failure."""
    calls: list[str] = []
    flush, link = os.fsync, os.link

    def seen_flush(descriptor: int) -> None:
        calls.append("flush " + str(Path(f"/proc/self/fd/{descriptor}").readlink()).rpartition(".")[2])
        flush(descriptor)

    def seen_link(part: Path, target: Path) -> None:
        calls.append("name")
        link(part, target)

    monkeypatch.setattr(os, "fsync", seen_flush)
    monkeypatch.setattr(os, "link", seen_link)
    storage.write("shop.gz", b"x")
    storage.delete("shop.gz")
    folder = f"flush {storage.root}"
    assert calls == ["flush part", "name", folder, folder]


def test_a_failed_folder_fsync_withdraws_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has its name when the fsync of the folder fails."""
    storage = LocalStorage(tmp_path / "store")
    _fail_folder_sync(monkeypatch, errno.EIO)
    with pytest.raises(StorageError, match="make sure"):
        storage.write("a.json", b"{}")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_file_system_without_folder_fsync_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path / "store")
    _fail_folder_sync(monkeypatch, errno.EINVAL)
    storage.write("a.json", b"{}")
    assert storage.read("a.json") == b"{}"


def _fail_folder_sync(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_files_of_the_mount_are_not_listed(tmp_path: Path) -> None:
    """lost+found, which only root may read; and a link to itself."""
    storage = LocalStorage(tmp_path)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "1").touch()
    (tmp_path / "loop").symlink_to("loop")
    storage.write("a.json", b"{}")
    assert [found.key for found in storage.list()] == ["a.json"]


def test_free_space_that_cannot_be_asked_for(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("shutil.disk_usage", fail)
    with pytest.raises(StorageError, match=r"Could not look at .*: Input/output error"):
        storage.free_space()


def test_a_disk_that_fails_during_a_read() -> None:
    """The memory of a process is a file whose first page cannot be read."""
    with LocalStorage(Path("/proc/self")).open("mem") as file, pytest.raises(StorageError) as caught:
        file.read(10)
    assert str(caught.value).startswith("Could not read /proc/self/mem: Input/output error")
