"""Microsoft's emulator of Azure Blob Storage, Azurite, on a free loopback port."""

from __future__ import annotations

import hmac
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.storage.azure.client import AzureClient
from django_cfg.backup.storage.azure.container import Container
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from tests.support import needs
from tests.support.processes import wait_until
from tests.support.server_process import free_port

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_VERSION = "2021-08-06"


class Azurite:
    """The server; its objects are in its memory."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        self._numbers = count(1)
        log = folder / "log"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [azurite(), "--inMemoryPersistence", "--blobHost=127.0.0.1", f"--blobPort={self.port}",
                 "--skipApiVersionCheck", "--disableTelemetry"],
                cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        wait_until(lambda: "successfully listens" in log.read_text(), 60)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def new_container(self) -> str:
        """It asks as Azure's own clients do: this package creates no container."""
        name = f"container-{next(self._numbers)}"
        now = formatdate(usegmt=True)
        resource = f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        signed = f"PUT{chr(10) * 12}x-ms-date:{now}\nx-ms-version:{_VERSION}\n{resource}"
        headers = {"x-ms-date": now, "x-ms-version": _VERSION, "Authorization": f"SharedKey {ACCOUNT}:{_sign(signed)}"}
        request = Request(f"{self.endpoint}/{name}?restype=container", method="PUT", headers=headers)  # noqa: S310
        with urlopen(request):  # noqa: S310  on loopback
            return name

    def sas_token(self, container: str, permissions: str, hours: float = 1) -> str:
        """A shared access signature for a container."""
        expiry = (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines = [permissions, "", expiry, f"/blob/{ACCOUNT}/{container}", *[""] * 3, _VERSION, "c", *[""] * 7]
        names = {"sv": _VERSION, "sr": "c", "sp": permissions, "se": expiry, "sig": _sign("\n".join(lines))}
        return urlencode(names)

    def parameters(self, container: str) -> dict[str, Any]:
        return {
            "backend": "azure",
            "azure_container": container,
            "azure_account": ACCOUNT,
            "azure_account_key": KEY,
            "azure_endpoint_url": self.endpoint,
        }

    def storage(self, container: str, **changes: Any) -> ObjectStorage:
        return ObjectStorage(
            AzureClient(Container.of(BackupStorageConfig(**{**self.parameters(container), **changes})))
        )


def azurite() -> str:
    """Find Azurite where scripts/test-programs installs it, or on PATH."""
    installed = Path(sys.prefix) / "node_modules/.bin/azurite-blob"
    if not installed.exists() and not shutil.which("azurite-blob"):
        needs.missing("Azurite is not installed (npm install --prefix .venv azurite@3.35.0)")
    return str(installed) if installed.exists() else "azurite-blob"


def _sign(text: str) -> str:
    return b64encode(hmac.digest(b64decode(KEY), text.encode(), "sha256")).decode()
