"""An S3 server that knows versions and object lock: moto's, over HTTP, a process of its own. It checks no signature."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from django_cfg.backup.storage.s3.bucket import Bucket
from django_cfg.backup.storage.s3.client import S3Client
from tests.support.processes import wait_until
from tests.support.server_process import free_port

_CREDENTIAL = "AKIDEXAMPLE0/20260101/us-east-1/s3/aws4_request"
_AS_OWNER = {"Authorization": f"AWS4-HMAC-SHA256 Credential={_CREDENTIAL}, SignedHeaders=host, Signature=0"}


class MotoServer:
    """The server, and its buckets."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        self._numbers = count(1)
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "moto.server", "--host=127.0.0.1", f"--port={port}"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: _is_listening(port), seconds=60)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def new_bucket(self, *, locks: bool = False) -> str:
        name = f"bucket-{next(self._numbers)}"
        self._ask("PUT", name, headers={"x-amz-bucket-object-lock-enabled": "true"} if locks else {})
        return name

    def lock_by_default(self, bucket: str, days: int, mode: str) -> None:
        """Give the bucket a default retention."""
        rule = f"<Rule><DefaultRetention><Mode>{mode}</Mode><Days>{days}</Days></DefaultRetention></Rule>"
        lock = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>"
        content = f"<ObjectLockConfiguration>{lock}{rule}</ObjectLockConfiguration>"
        self._ask("PUT", f"{bucket}?object-lock", content.encode(), {"Content-Type": "application/xml"})

    def parameters(self, bucket: str) -> dict[str, Any]:
        return {
            "backend": "s3",
            "s3_bucket": bucket,
            "s3_endpoint_url": self.endpoint,
            "s3_access_key": "AKIDEXAMPLE0",
            "s3_secret_key": "s3cret-of-the-bucket",
            "s3_region": "us-east-1",
        }

    def config(self, bucket: str, **changes: Any) -> BackupStorageConfig:
        return BackupStorageConfig(**{**self.parameters(bucket), **changes})

    def storage(self, bucket: str, **changes: Any) -> ObjectStorage:
        return ObjectStorage(S3Client(Bucket.of(self.config(bucket, **changes))))

    def headers(self, bucket: str, key: str) -> dict[str, str]:
        """What the service says of an object below the default prefix."""
        return self._ask("HEAD", f"{bucket}/db-backups/{key}")

    def versions(self, bucket: str) -> str:
        """All versions and delete markers, as the service lists them."""
        with urlopen(Request(f"{self.endpoint}/{bucket}?versions", headers=_AS_OWNER)) as answer:  # noqa: S310
            return str(answer.read().decode())

    def _ask(
        self, method: str, path: str, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, str]:
        everything = {**_AS_OWNER, **(headers or {})}
        request = Request(f"{self.endpoint}/{path}", content, everything, method=method)  # noqa: S310  of our own
        with urlopen(request) as answer:  # noqa: S310
            return {name.lower(): value for name, value in answer.headers.items()}


def _is_listening(port: int) -> bool:
    with closing(socket.socket()) as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
