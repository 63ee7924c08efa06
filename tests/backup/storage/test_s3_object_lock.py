"""Object lock: each backup is locked when it is stored; what the bucket says of versions and locks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, drill_backup, prune_backups, verify_backup
from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.engines.base import Level
from django_cfg.backup.errors import StorageError
from django_cfg.backup.services.monitoring.preflight_immutability import check_immutability
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.retention.pins import pin_backup, unpin_backup
from django_cfg.backup.storage.base import Immutability
from django_cfg.backup.storage.object_store.upload import SMALLEST_PART
from django_cfg.backup.storage.s3 import object_lock
from django_cfg.backup.storage.s3.bucket import Bucket
from tests.support.django_project import Site
from tests.support.moto_server import MotoServer
from tests.support.s3_server import S3Server

MODE, UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"


def is_locked_for(headers: dict[str, str], days: int) -> bool:
    until = datetime.fromisoformat(headers[UNTIL])
    return abs(until - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=5)


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_archives_manifests_and_proofs_are_locked(site: Site, books: Path, moto_server: MotoServer, mode: str) -> None:
    """A pin is not: it is there to be taken away. Everything works as in any other bucket."""
    bucket = moto_server.new_bucket(locks=True)
    storage = moto_server.config(bucket, s3_object_lock_days=30, s3_object_lock_mode=mode)
    site.configure(storage=storage)
    manifest = create_backup()
    assert verify_backup() == manifest
    assert drill_backup().succeeded
    pin_backup(current_project(), manifest)
    keys = {found.key for found in current_project().storage.list()}
    locked = {key for key in keys if MODE in moto_server.headers(bucket, key)}
    assert keys - locked == {f"{manifest.name}.pin.json"}
    assert len(locked) == 3
    for key in locked:
        headers = moto_server.headers(bucket, key)
        assert headers[MODE] == mode
        assert is_locked_for(headers, 30)
    unpin_backup(current_project(), manifest)


def test_an_object_of_several_parts_is_locked(moto_server: MotoServer) -> None:
    bucket = moto_server.new_bucket(locks=True)
    with moto_server.storage(bucket, s3_object_lock_days=7).publish("a b/large.sql.gz") as sink:
        sink.write(bytes(SMALLEST_PART + 1))
    headers = moto_server.headers(bucket, "a%20b/large.sql.gz")
    assert headers[MODE] == "GOVERNANCE"
    assert is_locked_for(headers, 7)


def test_what_is_deleted_stays_hidden(site: Site, books: Path, moto_server: MotoServer) -> None:
    """A lock does not stop the retention: the bytes are there behind a delete marker."""
    bucket = moto_server.new_bucket(locks=True)
    site.configure(
        storage=moto_server.config(bucket, s3_object_lock_days=30, s3_object_lock_mode="COMPLIANCE"),
        retention={"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0, "enabled": False},
    )
    first = create_backup()
    storage = current_project().storage
    storage.delete(first.key)
    storage.delete(first.archive_key)
    assert list(storage.list()) == []
    assert first.archive_key in moto_server.versions(bucket)
    assert prune_backups().failed == ()


def test_in_a_bucket_without_lock_nothing_is_stored(site: Site, books: Path, moto_server: MotoServer) -> None:
    """A backup that was to be locked and is not would be no such backup."""
    bucket = moto_server.new_bucket(locks=False)
    site.configure(storage=moto_server.config(bucket, s3_object_lock_days=30))
    with pytest.raises(StorageError, match=r"s3_object_lock_days is 30.*does not lock objects"):
        create_backup()
    assert list(current_project().storage.list()) == []
    answer = site.call("backup_check")
    assert answer.code != 0
    assert "s3_object_lock_days" in answer.stdout + answer.stderr


def test_what_the_bucket_says(moto_server: MotoServer) -> None:
    plain = moto_server.new_bucket(locks=False)
    assert moto_server.storage(plain).immutability() == Immutability()
    locking = moto_server.new_bucket(locks=True)
    assert moto_server.storage(locking).immutability() == Immutability(has_versions=True, can_lock=True)
    moto_server.lock_by_default(locking, 14, "COMPLIANCE")
    found = moto_server.storage(locking, s3_object_lock_days=3).immutability()
    assert found == Immutability(
        has_versions=True, can_lock=True, default_days=14, default_mode="COMPLIANCE", own_days=3, own_mode="GOVERNANCE"
    )
    assert found.lock == (3, "GOVERNANCE")


@pytest.mark.parametrize(
    ("default", "own", "words"),
    [
        (None, None, ["keeps versions", "locks none"]),
        (None, 3, ["locked for 3 days (GOVERNANCE)", "not locked any more"]),
        (None, 30, ["locked for 30 days (GOVERNANCE)", "after 7 days", "keeps its room"]),
        (60, None, ["locked for 60 days (COMPLIANCE)", "cannot be removed before that by any user"]),
    ],
)
def test_what_a_lock_means_for_the_retention(
    site: Site, moto_server: MotoServer, default: int | None, own: int | None, words: list[str]
) -> None:
    bucket = moto_server.new_bucket(locks=True)
    if default:
        moto_server.lock_by_default(bucket, default, "COMPLIANCE")
    site.configure(storage=moto_server.config(bucket, s3_object_lock_days=own))
    found = list(check_immutability(current_project()))
    assert all(finding.level is Level.OK for finding in found)
    text = " ".join(finding.text for finding in found)
    for word in words:
        assert word in text


def test_backup_check_says_so(site: Site, books: Path, moto_server: MotoServer) -> None:
    bucket = moto_server.new_bucket(locks=True)
    site.configure(storage=moto_server.config(bucket, s3_object_lock_days=30))
    answer = site.call("backup_check")
    assert "locked for 30 days (GOVERNANCE)" in answer.stdout, answer.stderr
    assert "keeps versions" in answer.stdout


class Service:
    """Answers in turn what it is given, and notes what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def bucket(self, **changes: Any) -> Bucket:
        endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        config = {"backend": "s3", "s3_bucket": "b", "s3_endpoint_url": endpoint, "s3_access_key": "AKIDEXAMPLE0",
                  "s3_secret_key": "s3cret-of-the-bucket", "s3_region": "us-east-1"}  # fmt: skip
        return Bucket.of(BackupStorageConfig(**{**config, **changes}))

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.asked.append((self.command, self.path, headers, body))
                status, text = service.answers.pop(0)
                if not status:
                    return  # without an answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_PUT = handle_any  # noqa: N815  http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
                """Requests are noted in ``asked``."""

        return Handler


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(object_lock, "_PAUSES", (0.0, 0.0))
    service = Service()
    yield service
    service.stop()


def refusal(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>No.</Message></Error>"


def lock(service: Service, **changes: Any) -> None:
    bucket = service.bucket(**{"s3_object_lock_days": 5, **changes})
    object_lock.lock_object(bucket, f"{bucket.endpoint}/b", "us-east-1", "db-backups/ä b.json")


def test_a_lock_is_asked_for_with_its_checksum_and_signed(service: Service) -> None:
    """S3 insists on a checksum of what is about a lock."""
    service.answers = [(200, "")]
    lock(service, s3_object_lock_mode="COMPLIANCE")
    ((method, path, headers, body),) = service.asked
    assert (method, path) == ("PUT", "/b/db-backups/%C3%A4%20b.json?retention=")
    assert b"<Mode>COMPLIANCE</Mode>" in body
    assert b"Z</RetainUntilDate>" in body
    assert headers["content-md5"]
    assert "SignedHeaders=content-md5;host;x-amz-content-sha256;x-amz-date," in headers["authorization"]


def test_a_service_that_fails_is_asked_again(service: Service) -> None:
    """A large upload is not given up for that."""
    service.answers = [(503, refusal("SlowDown")), (500, ""), (200, "")]
    lock(service)
    assert len(service.asked) == 3


def test_a_service_that_gives_no_answer_is_asked_again(service: Service) -> None:
    service.answers = [(0, ""), (200, "")]
    lock(service)
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([(403, refusal("AccessDenied"))], "access was denied"),
        ([(400, refusal("InvalidRequest"))], "does not lock objects"),
        ([(501, refusal("NotImplemented"))], "does not lock objects"),
        ([(503, refusal("SlowDown"))] * 3, "slow down"),
    ],
    ids=["denied", "no-lock", "no-such-request", "busy"],
)
def test_a_lock_that_is_refused_is_an_error(service: Service, answers: list[tuple[int, str]], words: str) -> None:
    service.answers = list(answers)
    with pytest.raises(StorageError, match=words):
        lock(service)
    assert service.answers == []


def test_a_service_that_takes_the_request_for_the_object_is_not_asked(s3_server: S3Server, bucket: str) -> None:
    """rclone would answer with yes, and replace the archive by the text of the request."""
    storage = s3_server.storage(bucket, s3_object_lock_days=5)
    with pytest.raises(StorageError, match="does not lock objects"):
        storage.write("a.json", b"{}")
    assert s3_server.files(bucket) == []
    storage.write("a.pin.json", b"{}")
    assert storage.read("a.pin.json") == b"{}"


def test_what_could_not_be_locked_is_deleted_again(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = moto_server.new_bucket(locks=True)
    storage = moto_server.storage(bucket, s3_object_lock_days=5)

    def refuse(*arguments: object) -> str:
        return "status code: 403 " + refusal("AccessDenied")

    monkeypatch.setattr(object_lock, "_send_patiently", refuse)
    with pytest.raises(StorageError, match="access was denied"):
        storage.write("a.json", b"{}")
    assert list(storage.list()) == []


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (
            [(200, "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"),
             (404, refusal("ObjectLockConfigurationNotFoundError"))],
            Immutability(has_versions=True),
        ),
        ([(501, refusal("NotImplemented")), (501, refusal("NotImplemented"))], Immutability()),
        (
            [(200, "<VersioningConfiguration/>"),
             (200, '<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ObjectLockEnabled>Enabled'
                   "</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Years>2</Years>"
                   "</DefaultRetention></Rule></ObjectLockConfiguration>")],
            Immutability(can_lock=True, default_days=730, default_mode="GOVERNANCE"),
        ),
    ],
    ids=["suspended", "unknown", "years"],
)  # fmt: skip
def test_other_answers_of_services(service: Service, answers: list[tuple[int, str]], expected: Immutability) -> None:
    service.answers = answers
    bucket = service.bucket()
    assert object_lock.read_immutability(bucket, f"{bucket.endpoint}/b", "us-east-1") == expected


def test_a_key_that_may_not_ask(service: Service) -> None:
    service.answers = [(403, refusal("AccessDenied"))]
    bucket = service.bucket()
    with pytest.raises(StorageError, match="access was denied"):
        object_lock.read_immutability(bucket, f"{bucket.endpoint}/b", "us-east-1")


def test_an_answer_that_is_no_xml(service: Service) -> None:
    """Of a proxy, or of another program at that address."""
    service.answers = [(200, "Welcome!")]
    bucket = service.bucket()
    with pytest.raises(StorageError, match=r"Could not read the settings of the bucket, in s3://b/.* in its answer"):
        object_lock.read_immutability(bucket, f"{bucket.endpoint}/b", "us-east-1")
