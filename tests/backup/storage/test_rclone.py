"""The rclone storage: the contract of every storage on three remotes, and what is its own."""

from __future__ import annotations

import pytest

from django_cfg.backup.storage.base import Storage
from django_cfg.backup.storage.rclone import RcloneStorage
from tests.backup.storage.storage_contract import StorageContract
from tests.backup.storage.test_s3 import REOPEN
from tests.support.rclone_remotes import FolderRemote, Remote, SFTPServer, WebDAVServer


class RcloneContract(StorageContract):
    @pytest.fixture
    def remote(self) -> Remote:
        raise NotImplementedError

    @pytest.fixture
    def place(self, remote: Remote) -> str:
        return remote.new_path()

    @pytest.fixture
    def storage(self, remote: Remote, place: str) -> RcloneStorage:
        return remote.storage(place)

    @pytest.fixture
    def reopen(self, remote: Remote, place: str) -> str:
        return REOPEN.format(parameters=remote.parameters(place))

    class TestNothingIsOverwritten(StorageContract.TestNothingIsOverwritten):
        # rclone has no "create only if it is not there": between its look and the renaming is a moment.
        test_exactly_one_of_racing_threads_succeeds = None
        test_exactly_one_of_racing_processes_succeeds = None

    class TestList(StorageContract.TestList):
        def test_more_objects_than_one_page_are_listed(self, storage: Storage, remote: Remote, place: str) -> None:
            """They are put on the disk: a thousand uploads start rclone thousands of times."""
            keys = {f"{number % 7}/{number:04}.json" for number in range(2_050)}
            folder = remote.data / place.removeprefix(remote.root).strip("/")
            for key in keys:
                (folder / key).parent.mkdir(parents=True, exist_ok=True)
                (folder / key).write_bytes(b"x")
            assert {found.key for found in storage.list()} == keys

    class TestIsTaken(StorageContract.TestIsTaken):
        test_a_name_is_taken_by_an_object_that_is_being_written = None  # rclone keeps what is small until its end


class TestFolder(RcloneContract):
    @pytest.fixture
    def remote(self, rclone_folder: FolderRemote) -> Remote:
        return rclone_folder


class TestSFTP(RcloneContract):
    @pytest.fixture
    def remote(self, sftp_server: SFTPServer) -> Remote:
        return sftp_server


class TestWebDAV(RcloneContract):
    @pytest.fixture
    def remote(self, webdav_server: WebDAVServer) -> Remote:
        return webdav_server
