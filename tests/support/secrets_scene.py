"""A project whose every secret is a canary, on one engine and one storage, and what is done with it."""

from __future__ import annotations

import io
import os
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.dispatch import Signal

from django_cfg.backup import signals
from django_cfg.backup.models import Run
from django_cfg.backup.services.project.project import current_project
from tests.support.canaries import Canaries, Log, Watch
from tests.support.databases import Server
from tests.support.django_project import Site
from tests.support.gnupg_home import Laptop
from tests.support.notification_servers import Mailbox, WebServer, use_mail
from tests.support.secrets_places import Place

# One gives its receivers the way to the restored data, the password included: it asks our own code.
_TELLING = [s for s in vars(signals).values() if isinstance(s, Signal) and s is not signals.restore_checked]


@dataclass(repr=False)  # it knows the secrets
class Scene:
    site: Site
    server: Server
    canaries: Canaries
    laptop: Laptop
    temporary: Path
    watch: Watch
    log: Log
    place: Place
    mailbox: Mailbox
    web: WebServer
    texts: dict[str, str] = field(default_factory=dict)

    def set_the_site(self) -> None:
        """Set the other settings of the project."""
        self.site.set(SECRET_KEY=self.canaries.plant("SECRET_KEY"))
        use_mail(self.site, self.mailbox.port, self.canaries.plant("mail password"))

    def configure(self, of_default: dict[str, Any] | None = None, **parameters: Any) -> None:
        """``settings.BACKUP`` with a secret wherever there is room for one; *of_default* is for the one database."""
        plant = self.canaries.plant
        self.site.configure(
            **{
                "encryption_key": plant("passphrase"),
                "decryption_keys": [plant("earlier passphrase")],
                "storage": self.place.parameters,
                "notify_on_success": True,
                "api": {"tokens": [plant("token of the API")]},
                "notify_urls": [self.notify_url(self.web.port)],
                "heartbeat_url": self.heartbeat_url(self.web.port),
                "metrics_token": plant("metrics token"),
                "webhooks": [{"url": self.webhook_url(self.web.port), "secret": plant("webhook secret")}],
                **parameters,
                "databases": [
                    {"alias": "empty", "enabled": False},
                    {"alias": "default", "connection": {"PASSWORD": plant("database password")}, **(of_default or {})},
                ],
            }
        )

    def notify_url(self, port: int) -> str:
        plant = self.canaries.plant
        login = f"site:{plant('password of a notification')}"
        return f"json://{login}@127.0.0.1:{port}/{plant('token of a notification')}"

    def webhook_url(self, port: int) -> str:
        return f"http://127.0.0.1:{port}/hook/{self.canaries.plant('token of a webhook')}"

    def heartbeat_url(self, port: int) -> str:
        return f"http://127.0.0.1:{port}/ping/{self.canaries.plant('token of the heartbeat')}/{{database}}"

    def call(self, command: str, *arguments: str, code: int = 0) -> None:
        """Run a command and keep all it says, with the traceback of what it raises and of what that came from."""
        stdout, stderr = io.StringIO(), io.StringIO()
        failed = False
        try:
            call_command(command, *arguments, stdout=stdout, stderr=stderr)
        except CommandError as error:
            failed = True
            self.keep_exception(f"an exception of {command}", error)
        assert failed is bool(code), stdout.getvalue() + stderr.getvalue()
        self.keep(f"stdout of {command}", stdout.getvalue())
        self.keep(f"stderr of {command}", stderr.getvalue())

    def keep(self, where: str, text: str) -> None:
        self.texts[f"{where} ({len(self.texts)})"] = text

    def keep_exception(self, where: str, error: BaseException) -> None:
        self.keep(where, "".join(traceback.format_exception(error)))
        self.keep(f"the repr of {where}", repr(error.__cause__) + repr(vars(error)))

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

    def finds(self, capfd: pytest.CaptureFixture[str]) -> list[str]:
        """All places that hold a secret."""
        out, err = capfd.readouterr()
        self.keep("the log", self.log.text)
        self.keep("our own stdout", out)
        self.keep("our own stderr", err)
        with suppress(Exception):  # the settings of the scene may be unusable
            self.keep("the configuration", repr(settings.BACKUP) + repr(current_project()))
        self.keep("the history", history())
        for mail in self.mailbox.mails:
            self.keep("a mail", f"{mail.items()}\n{mail.get_content()}")
        for _, _, document in self.web.requests:
            self.keep("a notification", repr(document))
        in_files = self.canaries.in_files([self.site.root, self.temporary, self.place.folder])
        return [*sorted(self.watch.finds), *self.canaries.in_texts(self.texts), *in_files]

    def listen(self) -> None:
        """Record what signals send."""
        for signal in _TELLING:
            signal.connect(self._record_signal)

    def _record_signal(self, **facts: Any) -> None:
        self.keep("the data of a signal", repr(facts))

    def close(self) -> None:
        for signal in _TELLING:
            signal.disconnect(self._record_signal)
        for descriptor in self._descriptors:
            os.close(descriptor)


def history() -> str:
    try:
        return repr(list(Run.objects.values()))
    except Exception as error:  # noqa: BLE001  the database of the scene may be unreachable
        return repr(error)
