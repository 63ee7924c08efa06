"""Remotes of rclone on this machine: a folder, a real sshd, and a WebDAV server."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage.rclone import RcloneStorage
from tests.support import needs
from tests.support.processes import wait_until
from tests.support.s3_server import rclone
from tests.support.server_process import free_port

USER, PASSWORD = "backup", "w3bdav-of-the-remote"
_SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
"""


class Remote:
    """A remote named ``offsite`` in an rclone.conf of its own; ``data`` is where its objects are files.

    :param section: the lines of rclone.conf; ``{folder}`` is *folder*.
    :param root: the path on the remote that is *folder*/data.
    """

    def __init__(self, folder: Path, section: str, root: str) -> None:
        self.folder, self.data, self.root = folder, folder / "data", root
        self.data.mkdir(parents=True, exist_ok=True)
        self.config = folder / "rclone.conf"
        self.config.write_text(f"[offsite]\n{section}")
        self._numbers = count(1)

    def new_path(self) -> str:
        """The path of a new place; the first write makes its folder."""
        return f"{self.root}/place-{next(self._numbers)}"

    def parameters(self, path: str) -> dict[str, Any]:
        return {"backend": "rclone", "rclone_remote": f"offsite:{path}", "rclone_config": str(self.config)}

    def storage(self, path: str, **changes: Any) -> RcloneStorage:
        return RcloneStorage.of(BackupStorageConfig(**{**self.parameters(path), **changes}))

    def files(self, path: str) -> list[str]:
        """All files on the disk, unfinished ones too."""
        folder = self.data / path.removeprefix(self.root).strip("/")
        return sorted(str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_file())


class FolderRemote(Remote):
    """No server: rclone's own backend for a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "type = local\n", str(folder / "data"))


class SFTPServer(Remote):
    """OpenSSH's sshd, for this user alone, with a host key and a client key of its own."""

    def __init__(self, folder: Path) -> None:
        sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin") or needs.program("sshd")
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("host_key", "client_key", "other_key"):
            argv = [needs.program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", name]
            subprocess.run(argv, cwd=folder, check=True)
        (folder / "sshd_config").write_text(_SSHD.format(port=self.port, folder=folder))
        public = (folder / "host_key.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd separates privileges
        log = folder / "log"
        argv = [sshd, "-D", "-e", "-f", str(folder / "sshd_config")]
        with log.open("wb") as output:
            self.process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        wait_until(lambda: "Server listening" in log.read_text())
        super().__init__(folder, self.section(folder, "client_key"), str(folder / "data"))

    def section(self, folder: Path, key: str) -> str:
        return (
            f"type = sftp\nhost = 127.0.0.1\nport = {self.port}\nuser = {getpass.getuser()}\nshell_type = none\n"
            f"key_file = {folder / key}\nknown_hosts_file = {folder / 'known_hosts'}\n"
        )

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class WebDAVServer(Remote):
    """``rclone serve webdav``, with a user and a password."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.options = options
        super().__init__(folder, self.section(PASSWORD), "")
        self.start()

    def section(self, password: str) -> str:
        obscured = subprocess.run(
            [rclone(), "obscure", "-"], input=password, capture_output=True, text=True, check=True
        ).stdout.strip()
        return f"type = webdav\nurl = http://127.0.0.1:{self.port}\nvendor = rclone\nuser = {USER}\npass = {obscured}\n"

    def start(self) -> None:
        log = self.folder / "log"
        log.unlink(missing_ok=True)  # of an earlier start
        self.process = subprocess.Popen(
            [rclone(), "serve", "webdav", f"--addr=127.0.0.1:{self.port}", "--config=/dev/null", f"--log-file={log}",
             f"--cache-dir={self.folder / 'cache'}", "--dir-cache-time=1ms", *self.options, str(self.data)],
            env={**os.environ, "RCLONE_USER": USER, "RCLONE_PASS": PASSWORD},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        wait_until(lambda: log.exists() and "Server started" in log.read_text())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
