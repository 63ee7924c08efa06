"""Notifications over a real mail server and a real web server: one when an incident begins, one when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import django
import pytest
from django.conf import settings

from django_cfg.backup import checks, signals
from django_cfg.backup.errors import BackupError
from django_cfg.backup.services.monitoring import channels
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.failing_backup import fail
from tests.support.manifests import make_manifest
from tests.support.notification_servers import Mailbox, WebServer, use_mail
from tests.support.stopped_clock import Clock

pytestmark = pytest.mark.usefixtures("apprise_is_loaded")


class TestFailure:
    def test_the_message_says_what_where_why_and_what_to_do(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        fail(site)
        assert mailbox.subjects() == ["[Django] The backup of tests/test/default failed"]
        lines = dict(line.split(": ", 1) for line in mailbox.last().strip().split("\n\n"))
        assert list(lines) == ["What", "Where", "When", "Why", "What to do"]
        assert "nosuch" in lines["Why"]
        assert str(site.backups) in lines["Where"].replace("\n", "")
        assert "backup_create default" in lines["What to do"]

    def test_one_message_when_an_incident_begins_and_one_when_it_ends(
        self, site: Site, books: Path, mailbox: Mailbox
    ) -> None:
        for _ in range(3):
            fail(site)
        site.configure()
        for _ in range(2):
            site.create()
        fail(site)
        endings = [subject.rpartition("default ")[2] for subject in mailbox.subjects()]
        assert endings == ["failed", "works again", "failed"]

    def test_a_failure_is_notified_without_the_history(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        site.sql("DROP TABLE django_cfg_backup_run")
        for _ in range(2):
            fail(site)
        assert len(mailbox.mails) == 1

    def test_a_failure_is_notified_without_the_storage(
        self, site: Site, books: Path, mailbox: Mailbox, time: Clock
    ) -> None:
        """The mark is then kept on this machine for half a day; if in doubt the message is sent again."""
        site.backups.write_text("a file where the folder should be")
        for _ in range(2):
            with pytest.raises(BackupError):
                site.create()
        assert len(mailbox.mails) == 1
        time.now += timedelta(days=3650)
        with pytest.raises(BackupError):
            site.create()
        assert len(mailbox.mails) == 2
        site.backups.unlink()
        site.create()
        assert mailbox.subjects()[-1].endswith("works again")

    def test_a_failure_is_notified_with_an_unusable_storage_configuration(
        self, site: Site, books: Path, mailbox: Mailbox
    ) -> None:
        """No scheduled backup starts then, and the settings name no place for marks."""
        keys = {"s3_bucket": "b", "s3_access_key": "key", "s3_secret_key": "secret"}
        site.configure(storage={"backend": "s3", **keys, "s3_endpoint_url": "no URL"})
        for _ in range(2):
            assert site.call("backup_tick").code == 1
        assert mailbox.subjects() == ["[Django] Scheduled backups of tests/test do not start"]
        assert "s3_endpoint_url is no URL" in mailbox.last().replace("\n", " ")

    def test_notify_on_failure_switches_messages_off(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        fail(site, notify_on_failure=False)
        site.configure(notify_on_failure=False)
        site.create()
        assert mailbox.mails == []
        assert [name for name in site.stored() if "incident" in name] == []

    def test_each_database_has_its_own_incident(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        sqlite = {"ENGINE": "django.db.backends.sqlite3"}
        site.use_databases(
            default={**sqlite, "NAME": str(books)},
            a={**sqlite, "NAME": str(site.root / "gone")},
            b={**sqlite, "NAME": str(site.root / "gone too")},
        )
        site.call("backup_create")
        site.call("backup_create")
        assert sorted(mailbox.subjects()) == [
            "[Django] The backup of tests/test/a failed",
            "[Django] The backup of tests/test/b failed",
        ]

    def test_no_message_shows_a_secret(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        """Not even a secret of the settings that is part of an error's text."""
        secrets = [f"hunter2-{number}-do-not-print" for number in range(20)]
        use_all(secrets, site, mailbox)
        signals.send(
            signals.backup_failed,
            source=current_project().source("default"),
            message=f"could not connect with {'; '.join(secrets)}.",
        )
        text = mailbox.last().replace("\n", " ")
        assert f"could not connect with {'; '.join(['***'] * len(secrets))}." in text
        for mark in site.backups.rglob("*.incident"):
            assert "hunter2" not in mark.read_text()


def use_all(secrets: Sequence[str], site: Site, mailbox: Mailbox) -> None:
    """Put *secrets* into every setting that holds one."""
    left = iter(secrets)
    options = {"passwd": next(left), "ssl": {"password": next(left)}}
    default = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(site.database)}
    site.set(DATABASES={"default": {**default, "PASSWORD": next(left), "OPTIONS": options}}, SECRET_KEY=next(left))
    site.set(RQ_QUEUES={"a": {"URL": f"redis://:{next(left)}@127.0.0.1/0"}, "b": {"PASSWORD": next(left)}})
    site.set(CELERY_BROKER_URL=f"redis://:{next(left)}@127.0.0.1/0", CELERY_RESULT_BACKEND=f"redis://:{next(left)}@h/1")
    use_mail(site, mailbox.port)
    if django.VERSION < (6, 1):
        site.set(EMAIL_HOST_PASSWORD=next(left))
    else:
        site.set(MAILERS={**settings.MAILERS, "spare": {"OPTIONS": {"password": next(left)}}})
    site.configure(
        encryption_key=next(left),
        decryption_keys=[next(left)],
        storage={"s3_access_key": next(left), "s3_secret_key": next(left), "s3_session_token": next(left)},
        databases=[{"alias": "default", "connection": {"PASSWORD": next(left)}}],
        heartbeat_url=f"http://127.0.0.1:1/ping/{next(left)}/{{database}}",
        notify_urls=[f"json://site:{next(left)}@127.0.0.1:1/"],
        metrics_token=next(left),
        webhooks=[{"url": f"http://127.0.0.1:1/{next(left)}", "secret": next(left)}],
    )
    assert next(left, None) is None


class TestSuccess:
    def test_success_is_notified_only_on_request(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        site.create()
        assert mailbox.mails == []
        site.configure(notify_on_success=True)
        name = site.create().name
        assert mailbox.subjects() == ["[Django] The backup of tests/test/default succeeded"]
        assert name in mailbox.last()

    def test_a_recovery_is_one_message(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        fail(site)
        site.configure(notify_on_success=True)
        site.create()
        assert mailbox.subjects()[1:] == ["[Django] The backup of tests/test/default works again"]

    def test_a_much_smaller_backup_is_notified_once(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        for number in range(3):
            made = make_manifest(f"default_2026010{number}_000000_test")
            site.backups.mkdir(exist_ok=True)
            storage = current_project().storage
            big = made.model_copy(update={"archive": made.archive.model_copy(update={"size": 9_000_000})})
            with storage.publish(big.archive_key) as sink:
                sink.write(bytes(9_000_000))
            storage.write(big.key, big.to_json())
        for _ in range(2):
            site.create()
        assert mailbox.subjects() == ["[Django] The backup of tests/test/default is much smaller than usual"]
        assert "less than half" in mailbox.last().replace("\n", " ")


class TestChannels:
    def test_every_channel_gets_the_message(self, site: Site, books: Path, mailbox: Mailbox, web: WebServer) -> None:
        urls = [f"json://127.0.0.1:{web.port}/first", f"json://127.0.0.1:{web.port}/second"]
        fail(site, notify_urls=urls)
        assert len(mailbox.mails) == 1
        assert web.paths == ["/first", "/second"]
        document = web.requests[0][2]
        assert document["title"] == "The backup of tests/test/default failed"
        assert "What to do: Fix what the reason says" in document["message"]

    def test_a_failing_channel_is_logged_and_the_others_are_used(
        self, site: Site, books: Path, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        site.configure(notify_on_success=True, notify_urls=["nonsense", "json://127.0.0.1:1/token-s3cret"])
        assert site.create()
        assert len(mailbox.mails) == 1
        ours = "\n".join(record.message for record in caplog.records if record.name == "django_cfg.backup")
        assert "notify_urls[1] (no URL)" in ours
        assert "notify_urls[2] (json)" in ours
        assert "s3cret" not in ours

    def test_an_undelivered_message_is_sent_again(self, site: Site, books: Path, mailbox: Mailbox) -> None:
        site.set(ADMINS=[])
        fail(site, notify_urls=["json://127.0.0.1:1/"])
        use_mail(site, mailbox.port)
        fail(site)
        assert len(mailbox.mails) == 1

    def test_an_unresponsive_channel_does_not_delay_the_backup(
        self, site: Site, books: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(channels, "DEADLINE", 0.2)
        web.hold.clear()
        site.configure(heartbeat_url=f"http://127.0.0.1:{web.port}/")
        assert site.create()
        assert "heartbeat_url: no answer within" in caplog.text
        web.hold.set()

    def test_the_heartbeat_url_is_fetched_after_every_backup(
        self, site: Site, books: Path, web: WebServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whatever the notify flags are; with /fail after a failed backup."""
        url = f"http://127.0.0.1:{web.port}/ping/{{database}}"
        site.configure(heartbeat_url=url, notify_on_failure=False)
        site.create()
        fail(site, heartbeat_url=url, notify_on_failure=False)
        assert web.paths == ["/ping/default", "/ping/default/fail"]
        web.status = 404
        site.configure(heartbeat_url=url)
        assert site.create()
        assert "heartbeat_url: the server answered 404" in caplog.text
        assert "/ping/" not in caplog.text

    @pytest.mark.parametrize(
        ("url", "after_success", "after_failure"),
        [
            ("/ping/key/shop?create=1", "/ping/key/shop?create=1", "/ping/key/shop/fail?create=1"),
            ("/ping/?of={database}/", "/ping/?of=default/", "/ping/fail?of=default/"),
            ("?key=k", "/?key=k", "/fail?key=k"),
            ("/ping/key#shop", "/ping/key", "/ping/key/fail"),
            ("/ping/key/", "/ping/key/", "/ping/key/fail"),
        ],
    )
    def test_a_failure_changes_the_path_of_the_heartbeat_url(
        self, url: str, after_success: str, after_failure: str, site: Site, books: Path, web: WebServer
    ) -> None:
        """Services route by the path: an unchanged path would report success."""
        url = f"http://127.0.0.1:{web.port}{url}"
        site.configure(heartbeat_url=url)
        site.create()
        fail(site, heartbeat_url=url)
        assert web.paths == [after_success, after_failure]

    def test_backup_check_tries_all_channels(self, site: Site, books: Path, mailbox: Mailbox, web: WebServer) -> None:
        site.configure(notify_urls=[f"json://127.0.0.1:{web.port}/x", "json://127.0.0.1:1/"])
        answer = site.call("backup_check", "--notify", json=True)
        found = [(line["level"], line["text"].partition(":")[0]) for line in answer.json if line["subject"] == "notify"]
        assert found == [
            ("OK", "failures are reported by mail to ADMINS, notify_urls[1] (json), notify_urls[2] (json)"),
            ("OK", "mail to ADMINS"),
            ("OK", "notify_urls[1] (json)"),
            ("FAILED", "notify_urls[2] (json)"),
        ]
        assert answer.code == 1
        assert mailbox.subjects() == ["[Django] A test of the notifications of tests/test"]

    def test_a_missing_apprise_is_reported(
        self, site: Site, books: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """By the system check, and when a message is to be sent."""
        for module in (checks, channels):
            monkeypatch.setattr(module, "find_spec", lambda name: None)
        fail(site, notify_urls=["json://127.0.0.1/"])
        assert "install django-cfg-backup[notify]" in caplog.text
        assert "django_cfg_backup.W011" in site.call("check").stderr

    def test_backup_check_warns_of_missing_recipients(self, site: Site, books: Path) -> None:
        for arguments in ([], ["--notify"]):
            assert site.call("backup_check", *arguments).stdout.count("no failure is reported to anybody") == 1
