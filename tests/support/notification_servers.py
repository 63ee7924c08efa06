"""Receivers of notifications: a mail server and a web server for one test, on free loopback ports."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import apprise
import django
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.django_project import ADMINS, Site
from tests.support.server_process import free_port

SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"


class Mailbox:
    """What the mail server has taken. No properties: aiosmtpd looks at every attribute of its handler."""

    def __init__(self) -> None:
        self.port = free_port()
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = cast(bytes, envelope.content)
        self.mails.append(cast(EmailMessage, message_from_bytes(content, policy=policy.default)))
        return "250 taken"

    def subjects(self) -> list[str]:
        """As a reader sees them: a long one comes in several lines, which not every Python joins without a trace."""
        return [" ".join(mail["subject"].split()) for mail in self.mails]

    def last(self) -> str:
        return str(self.mails[-1].get_content()).replace("\r\n", "\n")


@contextmanager
def mail_server(password: str = "") -> Iterator[Mailbox]:
    """
    :param password: refuse every login with another one; empty: no login is possible.
    """
    mailbox = Mailbox()

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: object) -> AuthResult:
        known = isinstance(login, LoginPassword) and login.password == password.encode()
        return AuthResult(success=known, handled=False)  # the server sends the refusal

    asking = {"authenticator": check, "auth_require_tls": False} if password else {}
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port, **asking)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


def use_mail(site: Site, port: int, password: str = "", *, backend: str = SMTP_BACKEND) -> None:
    """Let *site* send its mail through the server on *port*, with a login if there is a *password*."""
    user = "site" if password else ""
    site.set(ADMINS=ADMINS)
    if django.VERSION >= (6, 1):
        options = {"host": "127.0.0.1", "port": port, "username": user, "password": password}
        site.set(MAILERS={"default": {"BACKEND": backend, "OPTIONS": options}})
    else:
        site.set(EMAIL_BACKEND=backend, EMAIL_HOST="127.0.0.1", EMAIL_PORT=port)
        site.set(EMAIL_HOST_USER=user, EMAIL_HOST_PASSWORD=password)


def load_apprise() -> None:
    """One of its plugins imports what Python has deprecated: nothing that our warnings are about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
        apprise.Apprise().add("json://127.0.0.1")


class WebServer:
    """Remembers every request as (method, path, document), and answers with ``status``; 0: with no answer of HTTP.

    As an echo it repeats in its answer what it was asked, as some services do.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.raw: list[tuple[dict[str, str], bytes]] = []  # headers and body
        self.status = 200
        self.is_echo = False
        self.hold = threading.Event()  # answers wait for it
        self.hold.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._take()

            def do_POST(self) -> None:
                self._take()

            def _take(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.raw.append((dict(self.headers), content))
                outer.requests.append((self.command, self.path, json.loads(content) if content else None))
                outer.hold.wait(20)
                asked = f"{self.path} {dict(self.headers)}" if outer.is_echo else ""
                if outer.status:
                    self.send_response(outer.status, asked or None)
                    if 300 <= outer.status < 400:
                        self.send_header("Location", f"http://127.0.0.1:{outer.port}/elsewhere")
                    self.end_headers()
                self.wfile.write(asked.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.requests]

    def stop(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def web_server() -> Iterator[WebServer]:
    server = WebServer()
    try:
        yield server
    finally:
        server.stop()
