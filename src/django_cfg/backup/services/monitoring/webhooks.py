"""Events sent to webhooks: signed, tried at once, then with every tick for a day.

What waits is a row of a table that holds at most ``MOST_WAITING``. A receiver that is slow or away holds up what has
sent the event for a few seconds, once in a minute.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import partial
from hashlib import sha256
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from django.db.models import QuerySet

from django_cfg.backup.config.webhook import BackupWebhookConfig, WebhookEvent
from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.formatting import counted
from django_cfg.backup.models import WebhookDelivery
from django_cfg.backup.process.redaction import redact
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.project.secrets import secrets_of
from django_cfg.backup.services.runs.history_database import attempted, history_alias, retry_while_locked

MOST_WAITING = 1000  # events of a project
_DEADLINE = 5.0  # seconds for one event, and for a receiver to begin its answer
_BUDGET = 30.0  # seconds of a tick
_GIVEN_UP_AFTER = timedelta(hours=24)
_LONGEST_PAUSE = 60  # minutes
_LEFT_ALONE = 60.0  # seconds after a failure, in which events are left to the tick
_silent_until: dict[str, float] = {}  # by receiver
_log = logging.getLogger("django_cfg.backup")


def announce(event: WebhookEvent, database: str, **facts: Any) -> bool | None:
    """Send *event* to the webhooks that want it, and keep it for the next ticks where that fails.

    :param facts: what has happened, fit for JSON; texts are sent without the secrets of the settings.
    :returns: True: it has arrived at one of them; None: it waits; False: neither.
    """
    project = current_project()
    receivers = [webhook for webhook in project.config.webhooks if webhook.wants(event)]
    if not receivers:
        return False
    body = _make_body(project, event, database, facts)
    kept = _keep(project, receivers, event, body)
    if _send_now(project, receivers, kept, body):
        return True
    return None if kept else False


def is_wanted(project: Project, event: WebhookEvent) -> bool:
    """Return True if a webhook wants *event*."""
    return any(webhook.wants(event) for webhook in project.config.webhooks)


def send_waiting(project: Project) -> None:
    """Send what is due again; a receiver that fails is left alone until the next tick."""
    if not project.config.webhooks:
        return
    deadline = time.monotonic() + _BUDGET
    receivers = {_identify(webhook): webhook for webhook in project.config.webhooks}
    with attempted("send the events that wait for webhooks") as is_possible:
        if not is_possible:
            return
        _drop(project, receivers)
        failed: set[str] = set()
        for row in _waiting(project).filter(due_at__lte=clock.now()).order_by("pk")[:MOST_WAITING]:
            if row.receiver in failed or time.monotonic() > deadline or not _take(row):
                continue
            if error := _post_in_time(project, receivers[row.receiver], row.body):
                failed.add(row.receiver)
                _log_failure(project, receivers[row.receiver], row.event, error)
            else:
                row.delete()


def check_webhooks(project: Project) -> Iterator[Finding]:
    """Check, without sending, whether events arrive."""
    if not project.config.webhooks:
        return
    waiting: dict[str, int] = {}
    with attempted("count the events that wait for webhooks") as is_possible:
        if is_possible:
            for receiver in _waiting(project).values_list("receiver", flat=True):
                waiting[receiver] = waiting.get(receiver, 0) + 1
    for number, webhook in enumerate(project.config.webhooks, 1):
        count = waiting.get(_identify(webhook), 0)
        text = f"{counted(count, 'event')} not sent yet, kept for the next ticks" if count else "no event waits"
        yield Finding(Level.WARNING if count else Level.OK, "notify", f"webhooks[{number}]: {text}")


def send_test_event(project: Project) -> Iterator[Finding]:
    """Send the event `test` to every webhook."""
    for number, webhook in enumerate(project.config.webhooks, 1):
        error = _post_in_time(project, webhook, _make_body(project, "test", "", {}))
        yield Finding(Level.FAILED if error else Level.OK, "notify", f"webhooks[{number}]: {error or 'sent'}")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a request: HMAC-SHA256 of ``timestamp.body``, in hexadecimal."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, sha256).hexdigest()


def _make_body(project: Project, event: str, database: str, facts: dict[str, Any]) -> str:
    hidden = secrets_of(project)
    clean = {name: redact(value, hidden) if isinstance(value, str) else value for name, value in facts.items()}
    return json.dumps(
        {
            "id": secrets.token_hex(16),
            "event": event,
            "at": clock.now().isoformat(),
            "project": project.name,
            "env": project.env,
            "database": database,
            **clean,
        }
    )


def _identify(webhook: BackupWebhookConfig) -> str:
    return sha256(webhook.url.encode()).hexdigest()


def _waiting(project: Project) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.using(history_alias()).filter(project=project.name, env=project.env)


def _keep(
    project: Project, receivers: Iterable[BackupWebhookConfig], event: str, body: str
) -> dict[str, WebhookDelivery]:
    """Write a row for each receiver before anything is sent: a process that is killed on the way loses nothing.

    Whatever the database raises, the event is sent once, and the caller goes on, who may have a mail to send.
    """
    now = clock.now()
    facts = {"project": project.name, "env": project.env, "event": event, "body": body, "created_at": now}
    rows = [WebhookDelivery(receiver=_identify(one), due_at=now + timedelta(minutes=1), **facts) for one in receivers]
    try:
        with attempted("keep an event for webhooks until it has arrived") as is_possible:
            if is_possible:
                for row in rows:
                    retry_while_locked(partial(row.save, using=history_alias()))
                _make_room(project)
                return {row.receiver: row for row in rows}
    except Exception as error:  # noqa: BLE001  of a driver, for OPTIONS that it does not know
        _log.warning("An event for webhooks could not be kept: %s", type(error).__name__)
    return {}


def _make_room(project: Project) -> None:
    """Drop the oldest rows of too many."""
    too_many = _waiting(project).count() - MOST_WAITING
    if too_many > 0:
        oldest = list(_waiting(project).order_by("pk").values_list("pk", flat=True)[:too_many])
        _waiting(project).filter(pk__in=oldest).delete()
        _log.error("More than %d events wait for webhooks; the oldest were dropped: %d.", MOST_WAITING, too_many)


def _drop(project: Project, receivers: dict[str, BackupWebhookConfig]) -> None:
    """Drop what has waited for too long, and what was for a receiver that is no more."""
    _waiting(project).exclude(receiver__in=receivers).delete()
    old = _waiting(project).filter(created_at__lt=clock.now() - _GIVEN_UP_AFTER)
    if count := old.count():
        old.delete()
        _log.error("%s could not be sent to a webhook for a day, and will not be.", counted(count, "event"))


def _send_now(
    project: Project, receivers: Iterable[BackupWebhookConfig], kept: dict[str, WebhookDelivery], body: str
) -> bool:
    """Send to all at the same time, so that several receivers that are away cost one deadline.

    :returns: whether it has arrived at one of them.
    """
    now, has_arrived = time.monotonic(), False
    numbers = {_identify(webhook): webhook for webhook in receivers}
    awake = [one for number, one in numbers.items() if _silent_until.get(number, 0.0) <= now or number not in kept]
    calls = [(webhook, InThread(partial(_post, webhook, body), "backup-webhook")) for webhook in awake]
    for webhook, call in calls:
        error = call.result(now + _DEADLINE - time.monotonic(), otherwise=f"no answer within {_DEADLINE:.0f} s")
        row = kept.get(_identify(webhook))
        if error:
            _silent_until[_identify(webhook)] = time.monotonic() + _LEFT_ALONE
            what_now = "it is tried again with the next ticks" if row else "it is not tried again: the history is away"
            _log_failure(project, webhook, json.loads(body)["event"], f"{error}; {what_now}")
            continue
        has_arrived = True
        if row:
            with attempted("note that an event has arrived at a webhook") as is_possible:
                if is_possible:
                    retry_while_locked(row.delete)
    return has_arrived


def _take(row: WebhookDelivery) -> bool:
    """Set when it is due again; False: another tick has done so, and sends it."""
    pause = timedelta(minutes=min(2**row.attempts, _LONGEST_PAUSE))
    same = WebhookDelivery.objects.using(history_alias()).filter(pk=row.pk, due_at=row.due_at)
    taken = {"due_at": clock.now() + pause, "attempts": row.attempts + 1}
    return bool(retry_while_locked(lambda: same.update(**taken)))


def _log_failure(project: Project, webhook: BackupWebhookConfig, event: str, error: str) -> None:
    number = project.config.webhooks.index(webhook) + 1
    _log.warning("The event %s did not arrive at webhooks[%d]: %s", event, number, redact(error, secrets_of(project)))


def _post_in_time(project: Project, webhook: BackupWebhookConfig, body: str) -> str:
    call = InThread(lambda: _post(webhook, body), "backup-webhook")
    error = call.result(_DEADLINE, otherwise=f"no answer within {_DEADLINE:.0f} s")
    return redact(error, secrets_of(project))


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would turn the POST into a GET without the event, and that would pass for success."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(webhook: BackupWebhookConfig, body: str) -> str:
    """Send once; return what went wrong, without a secret, or ""."""
    timestamp, content = str(int(clock.now().timestamp())), body.encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "django-cfg-backup",
        "X-Backup-Timestamp": timestamp,
        "X-Backup-Signature": f"sha256={sign(webhook.secret, timestamp, content)}",
    }
    try:
        request = Request(webhook.url, data=content, headers=headers)  # noqa: S310  http(s): see config
        with build_opener(_NoRedirects).open(request, timeout=_DEADLINE) as answer:
            answer.read(1024)
    except HTTPError as error:
        error.close()
        return f"the server answered {error.code}"
    except OSError as error:
        return f"{type(error).__name__}: {getattr(error, 'reason', None) or error.strerror or 'no answer'}"
    except (HTTPException, ValueError) as error:  # their text may be the URL
        return type(error).__name__
    return ""
