"""Errors of S3 services and networks: the message names the parameter to change."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from django_cfg.backup.errors import NotEnoughSpace, ObjectLocked, StorageError
from django_cfg.backup.storage.object_store import client
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from tests.support import needs
from tests.support.faulty_s3_proxy import Answer, FaultyProxy, status
from tests.support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server

USES: dict[str, Callable[[ObjectStorage], object]] = {
    "write": lambda storage: storage.write("shop.json", b"x"),
    "read": lambda storage: storage.read("shop.json"),
    "stat": lambda storage: storage.stat("shop.json"),
    "list": lambda storage: list(storage.list()),
    "is_taken": lambda storage: storage.is_taken("shop"),
}
TOKEN = "FwoGZXIvYXdzEXAMPLE-session"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=10)}
    quick = {"max_retries": 1, "retry_timeout": timedelta(seconds=5), "backoff": soon}
    monkeypatch.setattr(client, "_PART_RETRIES", quick)
    monkeypatch.setattr(client, "_REQUEST_RETRIES", quick)


def refusal(storage: ObjectStorage, use: str = "write") -> str:
    """Return the error message; assert that it holds no secret."""
    with pytest.raises(StorageError) as caught:
        USES[use](storage)
    text = str(caught.value)
    assert not any(secret in text for secret in (ACCESS_KEY, SECRET_KEY, TOKEN))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "\n" not in text
    return text


@pytest.mark.parametrize("use", USES)
class TestRealServer:
    def test_no_such_bucket(self, s3_server: S3Server, use: str) -> None:
        """Also where a missing object would be no error."""
        message = refusal(s3_server.storage("no-such-bucket"), use)
        assert "there is no such bucket: check s3_bucket" in message
        assert "s3://no-such-bucket/db-backups/" in message

    def test_wrong_access_key(self, s3_server: S3Server, bucket: str, use: str) -> None:
        message = refusal(s3_server.storage(bucket, s3_access_key="AKIDWRONG000"), use)
        assert "s3_access_key is not known there" in message

    def test_wrong_secret_key(self, s3_server: S3Server, bucket: str, use: str) -> None:
        message = refusal(s3_server.storage(bucket, s3_secret_key=f"{SECRET_KEY}x"), use)
        assert "the pair of s3_access_key and s3_secret_key is wrong" in message

    def test_a_refused_connection(self, s3_server: S3Server, use: str) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{closed.getsockname()[1]}"
            message = refusal(s3_server.storage("any", s3_endpoint_url=address), use)
        assert "connection refused): check s3_endpoint_url" in message

    def test_a_server_that_does_not_answer(
        self, s3_server: S3Server, use: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "_REQUEST", timedelta(seconds=0.2))
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            message = refusal(s3_server.storage("any", s3_endpoint_url=address), use)
        assert "did not answer in time: check s3_endpoint_url" in message


def test_an_endpoint_that_does_not_answer_is_an_error_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last attempt begins before the one limit and ends before the other."""
    monkeypatch.undo()
    last_begins = client._REQUEST_RETRIES["retry_timeout"]
    assert last_begins + client._REQUEST <= timedelta(seconds=60)
    assert client._CONNECT < client._REQUEST


def test_an_unknown_host(s3_server: S3Server) -> None:
    assert "host name is not known" in refusal(s3_server.storage("any", s3_endpoint_url="http://nowhere.invalid"))


class TestTLS:
    @pytest.fixture
    def secured(self, tmp_path: Path) -> S3Server:
        make_certificates(tmp_path)
        files = [f"--cert={tmp_path / 'server.pem'}", f"--key={tmp_path / 'server.key'}"]
        server = S3Server(tmp_path / "server", *files, scheme="https")
        server.new_bucket("safe")
        return server

    def test_certificates_and_schemes(
        self, secured: S3Server, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An untrusted certificate, one by a private authority, https to an http server, http to an https server."""
        try:
            message = refusal(secured.storage("safe"))
            assert "certificate is not trusted" in message
            assert "SSL_CERT_FILE" in message
            plain = refusal(secured.storage("safe", s3_endpoint_url=secured.endpoint.replace("https", "http")))
            assert "it speaks TLS there: write s3_endpoint_url with https://" in plain
            other = refusal(s3_server.storage("any", s3_endpoint_url=s3_server.endpoint.replace("http", "https")))
            assert "it does not speak TLS there: write s3_endpoint_url with http://" in other
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
            secured.storage("safe").write("shop.json", b"x")
            assert secured.files("safe") == ["db-backups/shop.json"]
        finally:
            secured.stop()


@pytest.mark.parametrize("use", ["write", "list", "stat"])
@pytest.mark.parametrize(
    ("number", "code", "message", "advice"),
    [
        (403, "AccessDenied", "Access Denied", "let the policy of the key behind s3_access_key allow s3:ListBucket"),
        (403, "RequestTimeTooSkewed", "The difference is too large.", "this machine's clock differs too much"),
        (400, "ExpiredToken", "The provided token has expired.", "s3_session_token is wrong or has expired"),
        (400, "AuthorizationHeaderMalformed", "expecting 'eu-central-1'", "set s3_region to 'eu-central-1'"),
        (301, "PermanentRedirect", "The bucket must be addressed otherwise", "set s3_region to the bucket's"),
        (418, "Teapot", "Short and stout.", "the service answered Teapot: Short and stout"),
    ],
)
def test_error_answers_of_the_service(
    s3_server: S3Server, bucket: str, proxy: FaultyProxy, use: str, number: int, code: str, message: str, advice: str
) -> None:
    """Also to HEAD, whose answer has no body: a list request is sent to learn the reason."""
    for kind in ("PutObject", "ListObjects", "HeadObject"):
        proxy.every(kind, status(number, code, message))
    storage = s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint, s3_session_token=TOKEN)
    assert advice in refusal(storage, use)


def test_signed_values_are_not_in_the_message(s3_server: S3Server, bucket: str, proxy: FaultyProxy) -> None:
    """AWS repeats them in its answer, including the session token."""
    body = f"""<Error><Code>SignatureDoesNotMatch</Code><Message>It does not match {SECRET_KEY}</Message>
        <AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId><CanonicalRequest>x-amz-security-token:{TOKEN}</CanonicalRequest>
        </Error>"""
    proxy.every("ListObjects", lambda exchange: Answer(403, body.encode()))
    storage = s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint, s3_session_token=TOKEN)
    assert "s3_secret_key is wrong" in refusal(storage, "list")
    assert not re.search(f"{SECRET_KEY}|{TOKEN}|{ACCESS_KEY}", repr(storage.place) + repr(vars(storage)))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDenied", "Access Denied because object protected by object lock."),
        ("ObjectLockedByBucketPolicy", "The object is locked by the bucket policy."),
        ("InvalidRequest", "Object is WORM protected and cannot be overwritten"),
    ],
)
def test_a_locked_object_has_its_own_error(
    s3_server: S3Server, bucket: str, proxy: FaultyProxy, code: str, message: str
) -> None:
    """A prune keeps locked backups, and continues."""
    storage = s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint)
    storage.write("shop.json", b"x")
    proxy.next("DeleteObject", status(403, code, message), status(403, "AccessDenied", "Access Denied"))
    with pytest.raises(ObjectLocked, match=r"Could not delete shop\.json.*it is locked"):
        storage.delete("shop.json")
    with pytest.raises(StorageError) as caught:
        storage.delete("shop.json")
    assert not isinstance(caught.value, ObjectLocked)


def test_a_full_bucket_has_its_own_error(s3_server: S3Server, bucket: str, proxy: FaultyProxy) -> None:
    proxy.every("PutObject", status(403, "QuotaExceeded", "Bucket quota exceeded"))
    with pytest.raises(NotEnoughSpace, match="s3_bucket"):
        s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint).write("shop.json", b"x")


def make_certificates(folder: Path) -> None:
    """Create a private authority, and a server certificate by it for 127.0.0.1."""
    openssl = needs.program("openssl")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    new = ["-newkey", "rsa:2048", "-nodes"]
    for argv in (
        ["req", "-x509", *new, "-keyout", "authority.key", "-out", "authority.pem", "-subj", "/CN=Authority"],
        ["req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server"],
        ["x509", "-req", "-in", "server.csr", "-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial",
         "-out", "server.pem", "-extfile", "names", "-days", "2"],
    ):  # fmt: skip
        subprocess.run([openssl, *argv], cwd=folder, capture_output=True, check=True)
