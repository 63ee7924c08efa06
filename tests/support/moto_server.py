"""moto's S3 server, by other hands than rclone's, on a free loopback port; its objects are in its memory."""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage.s3 import S3Storage
from django_cfg.backup.storage.s3.bucket import Bucket
from tests.support.processes import wait_until
from tests.support.s3_server import ACCESS_KEY, SECRET_KEY
from tests.support.server_process import free_port


class MotoServer:
    """The server. It looks at no signature."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        self._numbers = count(1)
        log = folder / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        wait_until(lambda: "Running on" in log.read_text(), 60)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def new_bucket(self) -> str:
        name = f"bucket-{next(self._numbers)}"
        with urlopen(Request(f"{self.endpoint}/{name}", method="PUT")):  # noqa: S310  on loopback
            return name

    def parameters(self, bucket: str) -> dict[str, Any]:
        return {
            "backend": "s3",
            "s3_bucket": bucket,
            "s3_endpoint_url": self.endpoint,
            "s3_access_key": ACCESS_KEY,
            "s3_secret_key": SECRET_KEY,
        }

    def storage(self, bucket: str) -> S3Storage:
        return S3Storage(Bucket.of(BackupStorageConfig(**self.parameters(bucket))))
