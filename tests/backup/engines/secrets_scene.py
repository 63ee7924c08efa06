"""A project whose every secret is a canary, on one engine and one storage, and what is done with it."""

from __future__ import annotations

import io
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from django_cfg.backup.models import BackupRun
from django_cfg.backup.services.project import current_project
from tests.backup.engines.canaries import Canaries, Watch
from tests.backup.engines.contract import Server
from tests.backup.engines.postgresql_server import PostgreSQLServer
from tests.backup.engines.test_sqlite import SQLiteServer
from tests.backup.gnupg import Laptop
from tests.sites import Site


@dataclass
class Scene:
    site: Site
    server: Server
    canaries: Canaries
    laptop: Laptop
    temporary: Path
    watch: Watch
    storage: dict[str, Any]
    texts: dict[str, str] = field(default_factory=dict)

    def configure(self, of_default: dict[str, Any] | None = None, **parameters: Any) -> None:
        """``settings.BACKUP`` with a secret wherever there is room for one; *of_default* is for the one database."""
        plant = self.canaries.plant
        self.site.configure(
            **{
                "encryption_key": plant("passphrase"),
                "decryption_keys": [plant("earlier passphrase")],
                "storage": {
                    "s3_access_key": plant("S3 access key"),
                    "s3_secret_key": plant("S3 secret key"),
                    **self.storage,
                },
                **parameters,
                "databases": [
                    {"alias": "empty", "enabled": False},
                    {"alias": "default", "connection": {"PASSWORD": plant("database password")}, **(of_default or {})},
                ],
            }
        )

    def call(self, command: str, *arguments: str, code: int = 0) -> None:
        """Run a command and keep all it says, with the traceback of what it raises and of what that came from."""
        stdout, stderr = io.StringIO(), io.StringIO()
        failed = False
        try:
            call_command(command, *arguments, stdout=stdout, stderr=stderr)
        except CommandError as error:
            failed = True
            self.keep(f"an exception of {command}", "".join(traceback.format_exception(error)))
            self.keep(f"the repr of an exception of {command}", repr(error.__cause__) + repr(vars(error)))
        assert failed is bool(code), stdout.getvalue() + stderr.getvalue()
        self.keep(f"stdout of {command}", stdout.getvalue())
        self.keep(f"stderr of {command}", stderr.getvalue())

    def keep(self, where: str, text: str) -> None:
        self.texts[f"{where} ({len(self.texts)})"] = text

    def passphrase(self, text: str) -> str:
        """The argument that reads *text* from a descriptor."""
        reading, writing = os.pipe()
        os.write(writing, text.encode())
        os.close(writing)
        self._descriptors.append(reading)
        return f"--passphrase-fd={reading}"

    _descriptors: list[int] = field(default_factory=list)

    def private_key(self, fingerprint: str, passphrase: str) -> Path:
        path = self.site.root / "private.asc"
        path.write_text(self.laptop.home.private(fingerprint, passphrase))
        return path

    def finds(self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> list[str]:
        """All places that hold a secret."""
        out, err = capfd.readouterr()
        self.keep("the log", caplog.text + "".join(repr(record.__dict__) for record in caplog.records))
        self.keep("our own stdout", out)
        self.keep("our own stderr", err)
        with suppress(Exception):  # the settings of the scene may be unusable
            self.keep("the configuration", repr(settings.BACKUP) + repr(current_project()))
        self.keep("the history", self.history())
        in_files = self.canaries.in_files([self.site.root, self.temporary])
        return [*sorted(self.watch.finds), *self.canaries.in_texts(self.texts), *in_files]

    def history(self) -> str:
        try:
            return repr(list(BackupRun.objects.values()))
        except Exception as error:  # noqa: BLE001  the database of the scene may be unreachable
            return repr(error)

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


def sqlite(request: pytest.FixtureRequest, canaries: Canaries) -> Server:
    """It has no password; that of the other secrets is the same."""
    return SQLiteServer(request.getfixturevalue("site"), "wal")


def postgresql(request: pytest.FixtureRequest, canaries: Canaries) -> Server:
    server: PostgreSQLServer = request.getfixturevalue("one_postgresql_server")
    password = canaries.plant("database password")
    role = server.role("canary", f"LOGIN SUPERUSER PASSWORD '{password}'")
    server.use(USER=role, PASSWORD=password)
    call_command("migrate", "django_cfg_backup", verbosity=0)
    return server


def local(site: Site) -> dict[str, Any]:
    return {}


# Another engine or storage joins with a line.
ENGINES: dict[str, Callable[[pytest.FixtureRequest, Canaries], Server]] = {"sqlite": sqlite, "postgresql": postgresql}
STORAGES: dict[str, Callable[[Site], dict[str, Any]]] = {"local": local}
