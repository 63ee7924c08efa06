"""The ways a message leaves: mail to ADMINS, and each of notify_urls. A channel that fails is logged, never raised."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from importlib.util import find_spec
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

import django
from django.conf import settings
from django.core.mail import mail_admins

from django_cfg.backup.config.backup import BackupConfig
from django_cfg.backup.process.redaction import redact, secrets_of_url
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.project.connections import closing_connections
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.project.secrets import keep_secrets_out_of_logs, secrets_of

DEADLINE = 30.0  # seconds a channel may take; mail alone would wait for ever
NO_ANSWER = "no answer within"  # begins an error after which it is unknown whether the message was sent
_HEARTBEAT_TIMEOUT = 10.0  # seconds
_LONGEST_KIND = 20  # characters
_UNKNOWN_URL = "Apprise does not know this kind of URL, or something is missing in it"
_log = logging.getLogger("django_cfg.backup")


@dataclass(frozen=True)
class Channel:
    """One way to somebody. ``send`` takes subject and body, and raises when it fails."""

    name: str  # without a secret
    send: Callable[[str, str], None]


class NotSent(Exception):
    """A channel refused, in words without a secret."""


def list_channels(config: BackupConfig) -> list[Channel]:
    mail = [Channel("mail to ADMINS", mail_admins)] if settings.ADMINS else []
    return mail + [_apprise(number, url) for number, url in enumerate(config.notify_urls, 1)]


def find_faults(config: BackupConfig) -> Iterator[str]:
    """Yield what will keep messages from being sent, as far as that is known without sending."""
    if django.VERSION < (6, 0) and not all(_is_name_and_address(admin) for admin in settings.ADMINS):
        yield (
            "settings.ADMINS holds something else than pairs of name and address, so no mail is sent: write "
            '[("Name", "name@example.org")]; Django takes plain addresses from 6.0 on'
        )
    for number, url in enumerate(config.notify_urls, 1):
        if not _is_understood(url):
            yield f"{_apprise(number, url).name} cannot be used: {_UNKNOWN_URL}"


def _is_name_and_address(admin: object) -> bool:
    return isinstance(admin, list | tuple) and len(admin) == 2


@contextmanager
def _silent_logger(name: str) -> Iterator[None]:
    """Keep a logger from saying again what the block finds."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _is_understood(url: str) -> bool:
    """Also if Apprise is not installed, which is reported elsewhere."""
    if not find_spec("apprise"):
        return True
    import apprise

    with keep_secrets_out_of_logs({*secrets_of_url(url)}), _silent_logger("apprise"):
        return bool(apprise.Apprise().add(url))


def heartbeat_channel(config: BackupConfig, database: str, *, succeeded: bool) -> Channel | None:
    """Return the dead man's switch, whose URL is fetched; None: there is none."""
    if config.heartbeat_url is None:
        return None
    url = config.heartbeat_url.replace("{database}", quote(database, safe=""))
    return Channel("heartbeat_url", lambda _subject, _body: _fetch(url if succeeded else _failure_url(url)))


def send_to_all(project: Project, ways: Iterable[Channel], subject: str, body: str) -> dict[str, str]:
    """Send through every channel, each within ``DEADLINE``.

    :returns: the channel's name with what went wrong, empty when nothing did; without a secret of the settings.
    """
    secrets = secrets_of(project)
    results = {way.name: redact(_attempt(way, subject, body), secrets) for way in ways}
    for name, error in results.items():
        if error:
            _log.error("A notification was not sent by %s: %s", name, error)
    return results


def _attempt(way: Channel, subject: str, body: str) -> str:
    """Send in a thread; a server that accepts and falls silent must not delay the backup. What went wrong, or "".

    It may use a database: a mail backend may keep its queue there.
    """
    sending = InThread(closing_connections(partial(_send, way, subject, body)), "backup-notification")
    return sending.result(DEADLINE, otherwise=f"{NO_ANSWER} {DEADLINE:.0f} s")


def _send(way: Channel, subject: str, body: str) -> str:
    try:
        way.send(subject, body)
    except NotSent as refusal:
        return str(refusal)
    except Exception as failure:  # noqa: BLE001  whatever it is, the backup does not fail of it
        return f"{type(failure).__name__}: {failure}"
    return ""


def _apprise(number: int, url: str) -> Channel:
    kind, mark, _ = url.partition("://")
    is_kind = mark and kind.isalnum() and len(kind) <= _LONGEST_KIND  # else it may be a token that was put there
    name = f"notify_urls[{number}] ({kind if is_kind else 'no URL'})"

    def send(subject: str, body: str) -> None:
        if not find_spec("apprise"):
            raise NotSent("Apprise is not installed: install django-cfg-backup[notify]")
        import apprise

        with keep_secrets_out_of_logs({*secrets_of_url(url)}):
            to = apprise.Apprise()
            if not to.add(url):
                raise NotSent(_UNKNOWN_URL)
            if not to.notify(body=body, title=subject):
                raise NotSent("it was refused, or there was no answer; the logger `apprise` has more")

    return Channel(name, send)


def _failure_url(url: str) -> str:
    """Append ``/fail`` to the path; the query holds parameters of its own, and stays."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise NotSent("it is no URL") from None  # the error may repeat the URL
    return parts._replace(path=f"{parts.path.rstrip('/')}/fail").geturl()


def _fetch(url: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_HEARTBEAT_TIMEOUT) as answer:  # noqa: S310  http(s): see config
            answer.read(1024)
    except HTTPException as error:
        raise NotSent(type(error).__name__) from None  # its text may be the URL
    except HTTPError as error:
        error.close()
        raise NotSent(f"the server answered {error.code} {error.reason}") from None
    except OSError as error:
        raise NotSent(
            f"{type(error).__name__}: {getattr(error, 'reason', None) or error.strerror or 'no answer'}"
        ) from None
