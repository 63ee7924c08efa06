"""S3 with the keys of the machine's role, from each source that obstore supports, all served locally."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.object_store.storage import ObjectStorage
from tests.backup.storage.test_s3_errors import make_certificates
from tests.support.role_server import RoleServer
from tests.support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.server_process import free_port

WRONG = "wr0ng-secret-do-not-print"


@pytest.fixture(autouse=True)
def _no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of AWS, and nothing at the address of the instance's metadata."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free_port()}")


@pytest.fixture
def role() -> Iterator[RoleServer]:
    server = RoleServer(ACCESS_KEY, SECRET_KEY)
    yield server
    server.stop()


def require_use(server: S3Server, bucket: str) -> None:
    """Write, read, list and delete."""
    storage = with_role(server, bucket)
    storage.write("shop.json", b"content")
    assert storage.read("shop.json") == b"content"
    assert [one.key for one in storage.list()] == ["shop.json"]
    storage.delete("shop.json")
    assert list(storage.list()) == []


def with_role(server: S3Server, bucket: str) -> ObjectStorage:
    return server.storage(bucket, s3_access_key=None, s3_secret_key="", s3_use_role=True)


def refusal(server: S3Server, bucket: str) -> str:
    with pytest.raises(StorageError) as caught:
        list(with_role(server, bucket).list())
    return str(caught.value)


def test_variables_of_the_environment(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    require_use(s3_server, bucket)


def test_an_instances_role(s3_server: S3Server, bucket: str, role: RoleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", role.url)
    require_use(s3_server, bucket)
    assert ("/latest/meta-data/iam/security-credentials/backup-role", "token-of-the-session") in role.requests


def test_a_containers_role(
    s3_server: S3Server, bucket: str, role: RoleServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("token-of-the-pod")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{role.url}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    require_use(s3_server, bucket)
    assert set(role.requests) == {("/v1/credentials", "token-of-the-pod")}


def test_a_web_identity(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The token service is asked over TLS only."""
    make_certificates(tmp_path)
    (tmp_path / "token").write_text("token-of-the-account")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup")
    service = RoleServer(ACCESS_KEY, SECRET_KEY, certificates=tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
    try:
        require_use(s3_server, bucket)
    finally:
        service.stop()
    assert service.requests


def test_expiring_keys_are_renewed(
    s3_server: S3Server, bucket: str, role: RoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup may take longer than the keys last; they are renewed before their end."""
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", role.url)
    role.expiry = role.expiry.replace(year=role.expiry.year - 1)
    storage = with_role(s3_server, bucket)
    storage.write("one", b"1")
    before = len(role.requests)
    storage.write("two", b"2")
    assert len(role.requests) > before


def test_a_missing_role_is_an_error(s3_server: S3Server, bucket: str) -> None:
    message = refusal(s3_server, bucket)
    assert "this machine gives no keys (s3_use_role=True)" in message
    assert "set s3_access_key and s3_secret_key" in message


def test_a_web_identity_without_its_file_is_an_error(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "missing"))
    assert "this machine gives no keys" in refusal(s3_server, bucket)


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_keys_that_the_service_refuses(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv(wrong, WRONG)
    message = refusal(s3_server, bucket)
    assert "the service does not take the keys of the role" in message
    assert WRONG not in message
    assert SECRET_KEY not in message


def test_a_service_that_does_not_answer_is_not_a_missing_role(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    storage = s3_server.storage(
        "any", s3_access_key=None, s3_secret_key=None, s3_use_role=True,
        s3_endpoint_url=f"http://127.0.0.1:{free_port()}",
    )  # fmt: skip
    with pytest.raises(StorageError, match="check s3_endpoint_url"):
        list(storage.list())


def test_without_s3_use_role_the_variables_are_ignored(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys of the configuration are used, whatever the environment holds for other programs."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", WRONG)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRONG)
    s3_server.storage(bucket).write("shop.json", b"x")
    assert s3_server.files(bucket) == ["db-backups/shop.json"]
