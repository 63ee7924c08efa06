"""A real S3 server over HTTP: ``rclone serve s3`` on a free loopback port, its objects files of a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from django_cfg.backup.storage.s3.bucket import Bucket
from django_cfg.backup.storage.s3.client import S3Client
from tests.support import needs
from tests.support.processes import wait_until
from tests.support.server_process import free_port

ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE0", "s3cret-of-the-bucket"


class S3Server:
    """The server, and its buckets, which are folders of *folder*.

    :param keys: access key and secret key; none: who asks is not looked at.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        scheme: str = "http",
        host: str = "127.0.0.1",
        keys: tuple[str, ...] = (ACCESS_KEY, SECRET_KEY),
    ) -> None:
        self.folder, self.keys = folder, keys
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.port = free_port()
        self.endpoint = f"{scheme}://{host}:{self.port}"
        self._numbers = count(1)
        self._options = options
        self.start()

    def start(self) -> None:
        """Also after it was stopped, with the data and at the port that it had."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [rclone(), "serve", "s3", f"--addr=127.0.0.1:{self.port}",
             "--config=/dev/null", f"--cache-dir={self.folder / 'cache'}", f"--log-file={log}",
             "--dir-cache-time=1ms",  # a bucket made on the disk is seen at once; 0 s would cost 30 ms a request
             *self._options, str(self.data)],
            # no secret on a command line
            env={**os.environ, **({"RCLONE_AUTH_KEY": f'"{",".join(self.keys)}"'} if self.keys else {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: log.exists() and "Starting s3 server on" in log.read_text())

    def stop(self) -> None:
        """At once: in order it waits for connections that clients keep open."""
        self._process.kill()
        self._process.wait()

    def new_bucket(self, name: str = "") -> str:
        name = name or f"bucket-{next(self._numbers)}"
        (self.data / name).mkdir()
        return name

    def config(self, bucket: str, **changes: Any) -> BackupStorageConfig:
        return BackupStorageConfig(**{**self.parameters(bucket), **changes})

    def parameters(self, bucket: str) -> dict[str, Any]:
        return {
            "backend": "s3",
            "s3_bucket": bucket,
            "s3_endpoint_url": self.endpoint,
            "s3_access_key": self.keys[0],
            "s3_secret_key": self.keys[1],
        }

    def storage(self, bucket: str, **changes: Any) -> ObjectStorage:
        return ObjectStorage(S3Client(Bucket.of(self.config(bucket, **changes))))

    def files(self, bucket: str) -> list[str]:
        """All files on the server's disk, those of unfinished uploads too."""
        root = self.data / bucket
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def rclone() -> str:
    """Find rclone next to this interpreter, where its wheel installs it, or on PATH."""
    installed = Path(sys.executable).with_name("rclone")
    return str(installed) if installed.exists() else needs.program("rclone")
