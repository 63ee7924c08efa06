"""Events sent to webhooks: a real receiver that checks the signature, is away, hangs, or sends elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import time as real_time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from django_cfg.backup import create_backup, drill_backup, restore_backup, signals
from django_cfg.backup.errors import BackupError
from django_cfg.backup.models import WebhookDelivery
from django_cfg.backup.services.monitoring import webhooks
from django_cfg.backup.services.monitoring.webhook_events import RECEIVERS
from django_cfg.backup.services.monitoring.webhooks import announce
from django_cfg.backup.services.schedule.tick import tick
from tests.support.django_project import Site
from tests.support.notification_servers import WebServer
from tests.support.processes import wait_until
from tests.support.server_process import free_port
from tests.support.stopped_clock import Clock

SECRET = "a-long-webhook-secret"
DOCS = Path(__file__).parents[3] / "docs" / "monitoring.md"


@pytest.fixture(autouse=True)
def _new_process() -> Iterator[None]:
    webhooks._silent_until.clear()
    yield
    webhooks._silent_until.clear()


def use(site: Site, port: int, *events: str, **more: Any) -> None:
    """One webhook on *port*, and no schedule unless it is given."""
    url = f"http://127.0.0.1:{port}/hook/Tr0ub4dor-token-in-the-path"
    webhook = {"url": url, "secret": SECRET, "events": list(events)}
    site.configure(**{"schedule": {"enabled": False}, "webhooks": [webhook], **more})


def events(server: WebServer) -> list[str]:
    return [document["event"] for _, _, document in server.requests]


def waiting() -> list[str]:
    return list(WebhookDelivery.objects.order_by("pk").values_list("event", flat=True))


def receiver_of_the_docs() -> Any:
    """The view that the page shows, made of its own text."""
    block = next(found for found in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "csrf" in found)
    handled: list[Any] = []
    names: dict[str, Any] = {
        "hmac": hmac, "hashlib": hashlib, "json": json, "time": real_time, "HttpResponse": HttpResponse,
        "csrf_exempt": lambda view: view, "SECRET": SECRET, "handle": handled.append,
    }  # fmt: skip
    exec(block, names)  # noqa: S102
    return names["receive"], handled


class TestEvents:
    def test_the_life_of_a_backup(self, hourly: Site, web: WebServer) -> None:
        use(hourly, web.port)
        manifest = create_backup()
        proof = drill_backup(manifest.name)
        restore_backup(manifest.name)
        assert hourly.call("backup_delete", manifest.name, "--yes", "--force").code == 0
        names = ["backup_succeeded", "verification_succeeded", "restore_succeeded", "backup_deleted"]
        assert events(web) == names
        made, drilled, restored, deleted = (document for _, _, document in web.requests)
        assert made["backup"] == {
            "name": manifest.name, "size": manifest.size, "tables": len(manifest.tables), "rows": manifest.rows,
            "started_at": manifest.started_at.isoformat(), "finished_at": manifest.finished_at.isoformat(),
            "trigger": "manual",
        }  # fmt: skip
        common = {"project": "tests", "env": "test", "database": "default"}
        assert common.items() <= made.items()
        assert (drilled["name"], drilled["drill"], drilled["seconds"]) == (manifest.name, True, proof.duration)
        assert restored["name"] == deleted["name"] == manifest.name
        assert len({document["id"] for _, _, document in web.requests}) == 4
        assert waiting() == []

    def test_failures_and_incidents(self, hourly: Site, web: WebServer) -> None:
        """Without any address of a person: incidents are noticed for the webhook alone, once."""
        use(hourly, web.port, storage={"local_path": str(hourly.database)})
        for _ in range(2):
            with pytest.raises(BackupError):
                create_backup()
        use(hourly, web.port)
        create_backup()
        assert sorted(events(web)[:3]) == ["backup_failed", "backup_failed", "incident_opened"]
        opened = next(document for _, _, document in web.requests if document["event"] == "incident_opened")
        assert (opened["incident"], opened["what"]) == ("backup", "The backup of tests/test/default failed.")
        assert opened["message"]

    def test_an_incident_is_closed(self, hourly: Site, web: WebServer) -> None:
        use(hourly, web.port, "incident_opened", "incident_closed")
        source = create_backup().source
        signals.send(signals.backup_failed, source=source, message="no space")
        signals.send(signals.backup_failed, source=source, message="no space")
        create_backup()
        assert events(web) == ["incident_opened", "incident_closed"]
        assert web.requests[1][2]["incident"] == "backup"

    def test_an_incident_that_could_not_be_sent_is_not_sent_every_minute(self, hourly: Site, time: Clock) -> None:
        """It waits for the next ticks, and does not begin again with each of them."""
        source = create_backup().source
        use(hourly, free_port(), "incident_opened")
        for _ in range(3):
            signals.send(signals.backup_overdue, source=source, message="overdue")
            time.advance(minutes=1)
        assert waiting() == ["incident_opened"]

    def test_only_the_chosen_events_are_sent(self, hourly: Site, web: WebServer) -> None:
        use(hourly, web.port, "backup_failed")
        create_backup()
        assert web.requests == []

    def test_each_signal_that_is_published_has_a_receiver(self) -> None:
        assert set(signals.PUBLISHED) == set(RECEIVERS)


class TestSignature:
    def test_the_receiver_of_the_docs_takes_it(self, hourly: Site, web: WebServer, time: Clock) -> None:
        time.now = datetime.now(UTC)
        use(hourly, web.port)
        create_backup()
        ((headers, body),) = web.raw
        receive, handled = receiver_of_the_docs()
        assert self.post(receive, headers, body) == 204
        assert [event["event"] for event in handled] == ["backup_succeeded"]
        assert self.post(receive, headers, body.replace(b"succeeded", b"failed")) == 403
        assert self.post(receive, {**headers, "X-Backup-Timestamp": "1780000000"}, body) == 403
        assert self.post(receive, {}, body) == 403
        old = str(int(real_time.time()) - 400)
        signature = f"sha256={webhooks.sign(SECRET, old, body)}"
        assert self.post(receive, {"X-Backup-Timestamp": old, "X-Backup-Signature": signature}, body) == 403
        assert len(handled) == 1

    def post(self, receive: Any, headers: dict[str, str], body: bytes) -> int:
        signed = {name: value for name, value in headers.items() if name.startswith("X-Backup")}
        request = RequestFactory().post("/", body, content_type="application/json", headers=signed)
        return int(receive(request).status_code)

    def test_no_secret_is_sent_or_logged(self, hourly: Site, web: WebServer, caplog: pytest.LogCaptureFixture) -> None:
        """Also where a message holds one, and the receiver repeats what it was sent."""
        caplog.set_level(logging.DEBUG)
        use(hourly, web.port, signing_key="signing-key-of-the-settings-1234567890")
        web.status, web.is_echo = 500, True
        announce("backup_failed", "default", message="it said signing-key-of-the-settings-1234567890")
        ((headers, body),) = web.raw
        sent = json.dumps(headers) + body.decode()
        assert "it said ***" in sent
        for secret in (SECRET, "signing-key-of-the-settings-1234567890"):
            assert secret not in sent + caplog.text + WebhookDelivery.objects.get().body
        assert "Tr0ub4dor" not in caplog.text + body.decode()
        assert "did not arrive at webhooks[1]: the server answered 500" in caplog.text


class TestRetries:
    def test_an_event_arrives_when_the_receiver_is_back(self, hourly: Site, web: WebServer, time: Clock) -> None:
        """With the same id and a new timestamp."""
        use(hourly, web.port)
        web.status = 503
        create_backup()
        assert waiting() == ["backup_succeeded"]
        tick()
        assert len(web.requests) == 1, "not due yet"
        time.advance(minutes=1)
        tick()
        web.status = 200
        for _ in range(2):
            time.advance(minutes=3)
            tick()
        assert len(web.requests) == 3
        assert len({document["id"] for _, _, document in web.requests}) == 1
        stamps = [int(headers["X-Backup-Timestamp"]) for headers, _ in web.raw]
        assert [stamp - stamps[0] for stamp in stamps] == [0, 60, 240]
        assert waiting() == []

    def test_a_redirect_is_a_failure(self, hourly: Site, web: WebServer) -> None:
        use(hourly, web.port)
        web.status = 302
        create_backup()
        assert waiting() == ["backup_succeeded"]
        assert [path for path in web.paths if "elsewhere" in path] == []

    def test_a_receiver_that_hangs_does_not_hold_up_a_backup(
        self, hourly: Site, web: WebServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its events are kept; in the next minute it is not even tried."""
        monkeypatch.setattr(webhooks, "_DEADLINE", 0.3)
        use(hourly, web.port)
        web.hold.clear()
        for _ in range(4):
            create_backup()
        wait_until(lambda: web.requests)
        assert len(web.requests) == 1
        assert waiting() == ["backup_succeeded"] * 4

    def test_what_was_not_sent_for_a_day_is_dropped(
        self, hourly: Site, time: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        use(hourly, free_port())
        create_backup()
        time.advance(hours=25)
        tick()
        assert waiting() == []
        assert "1 event could not be sent to a webhook for a day" in caplog.text

    def test_of_too_many_the_oldest_are_dropped(
        self, hourly: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(webhooks, "MOST_WAITING", 3)
        use(hourly, free_port())
        for number in range(5):
            announce("backup_failed", "default", message=str(number))
        bodies = [json.loads(row.body)["message"] for row in WebhookDelivery.objects.order_by("pk")]
        assert bodies == ["2", "3", "4"]
        assert "the oldest were dropped: 1" in caplog.text

    def test_events_of_a_receiver_that_is_no_more_are_dropped(self, hourly: Site, web: WebServer, time: Clock) -> None:
        use(hourly, free_port())
        create_backup()
        use(hourly, web.port)
        tick()
        assert (waiting(), web.requests) == ([], [])

    def test_a_dead_receiver_costs_one_attempt_per_tick_and_keeps_no_other_waiting(
        self, hourly: Site, web: WebServer, time: Clock
    ) -> None:
        dead = {"url": f"http://127.0.0.1:{free_port()}/", "secret": SECRET}
        alive = {"url": f"http://127.0.0.1:{web.port}/", "secret": SECRET}
        hourly.configure(schedule={"enabled": False}, webhooks=[dead, alive])
        web.status = 503
        for number in range(3):
            announce("backup_failed", "default", message=str(number))
        web.status = 200
        time.advance(minutes=2)
        tick()
        assert sorted(document["message"] for _, _, document in web.requests[1:]) == ["0", "1", "2"]
        assert sorted(row.attempts for row in WebhookDelivery.objects.all()) == [0, 0, 1]

    def test_without_the_history_there_is_one_attempt(
        self, hourly: Site, web: WebServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        use(hourly, web.port)
        hourly.sql("DROP TABLE django_cfg_backup_webhookdelivery")
        announce("backup_failed", "default", message="")
        assert events(web) == ["backup_failed"]
        web.status = 503
        for _ in range(2):
            announce("backup_failed", "default", message="")
        assert len(web.requests) == 3
        assert caplog.text.count("it is not tried again") == 2


class TestCheck:
    def lines(self, site: Site, *arguments: str) -> list[tuple[str, str]]:
        lines = site.call("backup_check", "--json", *arguments).json
        return [(line["level"], line["text"]) for line in lines if line["text"].startswith("webhooks[1]")]

    def test_it_says_what_waits_and_sends_a_test(self, hourly: Site, web: WebServer) -> None:
        use(hourly, web.port)
        assert self.lines(hourly, "--notify") == [("OK", "webhooks[1]: no event waits"), ("OK", "webhooks[1]: sent")]
        assert events(web) == ["test"]
        web.status = 500
        create_backup()
        assert self.lines(hourly, "--notify") == [
            ("WARNING", "webhooks[1]: 1 event not sent yet, kept for the next ticks"),
            ("FAILED", "webhooks[1]: the server answered 500"),
        ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": "ftp://example.org/", "secret": SECRET}, "url begins with http"),
        ({"url": "https://example.org/", "secret": "short"}, "fewer than 16 characters"),
        ({"url": "https://example.org/", "secret": SECRET, "events": ["nosuch"]}, "Input should be"),
    ],
)
def test_settings_that_cannot_be_used(site: Site, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        site.configure(webhooks=[wrong])
    assert SECRET not in str(caught.value)


def test_the_secret_may_be_in_a_file(site: Site, web: WebServer) -> None:
    """Else the path would be the secret, which others know."""
    (site.root / "secret").write_text("a-secret-that-is-in-a-file\n")
    url = f"http://127.0.0.1:{web.port}/"
    site.configure(webhooks=[{"url": url, "secret": f"file:{site.root}/secret"}])
    announce("backup_failed", "default", message="")
    ((headers, body),) = web.raw
    signature = webhooks.sign("a-secret-that-is-in-a-file", headers["X-Backup-Timestamp"], body)
    assert headers["X-Backup-Signature"] == f"sha256={signature}"
    with pytest.raises(ValueError, match="the file /nosuch/file it names cannot be read"):
        site.configure(webhooks=[{"url": url, "secret": "file:/nosuch/file"}])


def test_one_address_is_given_once(site: Site) -> None:
    with pytest.raises(ValueError, match="merge the events"):
        site.configure(webhooks=[{"url": "https://example.org/", "secret": SECRET}] * 2)
