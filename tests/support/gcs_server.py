"""Google Cloud Storage for tests: its XML API, which is S3's with other headers, on rclone's S3 server.

No emulator in a package registry has the XML API that obstore speaks. So a proxy adds to a real S3 server what is
Google's: the bearer token, a JWT that the service account has signed, and the condition ``x-goog-if-generation-match``.
"""

from __future__ import annotations

import json
import subprocess
import threading
from base64 import urlsafe_b64decode
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage.gcs.bucket import GCSBucket
from django_cfg.backup.storage.gcs.client import GCSClient
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from tests.support import needs
from tests.support.faulty_s3_proxy import Answer, Exchange, FaultyProxy
from tests.support.s3_server import S3Server

EMAIL = "backup@shop.iam.gserviceaccount.com"


class GCSServer(FaultyProxy):
    """The service; its buckets are folders of ``server.data``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens: list[str] = []  # that came, whether or not they were accepted
        self.static_token = ""  # accepted in the place of a JWT: what a metadata server gives
        self._verified: dict[str, bool] = {}
        self._creating = threading.Lock()
        self._openssl = needs.program("openssl")
        super().__init__(S3Server(folder / "s3", keys=()))
        self.credentials = self.new_account("account")
        argv = [self._openssl, "pkey", "-in", "account.pem", "-pubout", "-out", "public.pem"]
        subprocess.run(argv, cwd=folder, capture_output=True, check=True)

    def stop(self) -> None:
        super().stop()
        self.server.stop()

    def new_account(self, name: str) -> str:
        """Return the JSON of a service account with a new key."""
        path = self.folder / f"{name}.pem"
        argv = [self._openssl, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(path)]
        subprocess.run(argv, capture_output=True, check=True)
        key = {"client_email": EMAIL, "private_key": path.read_text(), "private_key_id": "0123456789abcdef"}
        return json.dumps({"type": "service_account", "project_id": "shop", **key})

    @cached_property
    def credentials_file(self) -> Path:
        path = self.folder / "account.json"
        path.write_text(self.credentials)
        return path

    def parameters(self, bucket: str) -> dict[str, Any]:
        return {
            "backend": "gcs",
            "gcs_bucket": bucket,
            "gcs_endpoint_url": self.endpoint,
            "gcs_credentials": self.credentials,
        }

    def storage(self, bucket: str, **changes: Any) -> ObjectStorage:
        return ObjectStorage(GCSClient(GCSBucket.of(BackupStorageConfig(**{**self.parameters(bucket), **changes}))))

    def answer(self, exchange: Exchange) -> Answer:
        token = exchange.headers.get("authorization", "").removeprefix("Bearer ")
        self.tokens.append(token)
        if token != self.static_token and not self._is_signed(token):
            return _refusal(exchange, 401, "AuthenticationRequired", "Authentication required.")
        if exchange.headers.get("x-goog-if-generation-match") != "0":
            return super().answer(exchange)
        body = exchange.body
        with self._creating:
            if exchange.stored.exists() and body is not None:
                return _refusal(exchange, 412, "PreconditionFailed", "At least one of the pre-conditions did not hold.")
            return super().answer(exchange)

    def _is_signed(self, token: str) -> bool:
        if token not in self._verified:
            self._verified[token] = self._verify(token)
        return self._verified[token]

    def _verify(self, token: str) -> bool:
        parts = token.split(".")
        if len(parts) != 3 or json.loads(_decoded(parts[1])).get("iss") != EMAIL:
            return False
        signature = self.folder / f"signature-{uuid4().hex}"
        signature.write_bytes(_decoded(parts[2]))
        argv = [self._openssl, "dgst", "-sha256", "-verify", "public.pem", "-signature", str(signature)]
        signed = ".".join(parts[:2]).encode()
        return subprocess.run(argv, cwd=self.folder, input=signed, capture_output=True, check=False).returncode == 0


def _refusal(exchange: Exchange, number: int, code: str, message: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(number, body.encode() if exchange.body is not None else b"")


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
