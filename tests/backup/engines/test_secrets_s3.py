"""No refusal of an S3 service, and no broken network, brings a secret to light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from django_cfg.backup import create_backup
from django_cfg.backup.storage.object_store import client
from tests.support import faulty_s3_proxy as faults
from tests.support.canaries import Canaries
from tests.support.faulty_s3_proxy import Answer, Exchange, Fault, FaultyProxy
from tests.support.s3_server import S3Server
from tests.support.secrets_places import on
from tests.support.secrets_scene import Scene

pytestmark = on(["sqlite s3"])
COMMANDS = (
    "backup_create --json", "backup_check --json", "backup_tick --json", "backup_list --json", "backup_status --json",
    "backup_verify --json", "backup_restore --yes", "backup_prune --yes --json",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=10)}
    quick = {"max_retries": 1, "retry_timeout": timedelta(seconds=5), "backoff": soon}
    monkeypatch.setattr(client, "_PART_RETRIES", quick)
    monkeypatch.setattr(client, "_REQUEST_RETRIES", quick)


@pytest.fixture
def canary_proxy(canary_s3_server: S3Server) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(canary_s3_server)
    yield proxy
    proxy.stop()


def fail(scene: Scene, **changes: Any) -> None:
    """Everything, on a storage that refuses it."""
    scene.place = replace(scene.place, parameters={**scene.place.parameters, **changes})
    scene.configure()
    for command in COMMANDS:
        scene.call(*command.split(), code=1)


@pytest.mark.parametrize("wrong", ["s3_secret_key", "s3_access_key"])
def test_a_wrong_key(scene: Scene, canaries: Canaries, wrong: str) -> None:
    fail(scene, **{wrong: canaries.plant("wrong key")})
    assert f"{wrong}" in "".join(scene.texts.values())


def test_no_such_bucket(scene: Scene) -> None:
    fail(scene, s3_bucket="no-such-bucket")
    assert "there is no such bucket" in "".join(scene.texts.values())


def test_no_server_listens(scene: Scene) -> None:
    fail(scene, s3_endpoint_url="http://127.0.0.1:1")
    assert "connection refused" in "".join(scene.texts.values())


@pytest.mark.parametrize("endpoint", ["https://user:{}@127.0.0.1:1", "https://127.0.0.1:1/?key={}", "{}"])
def test_a_key_in_the_endpoint(scene: Scene, canaries: Canaries, endpoint: str) -> None:
    """It is refused, and not repeated."""
    fail(scene, s3_endpoint_url=endpoint.format(canaries.plant("key in the endpoint")))
    assert "s3_endpoint_url" in "".join(scene.texts.values())


def repeating(number: int, code: str) -> Fault:
    """An answer that says no and repeats all that was signed, as AWS does, in every place there is."""

    def answer(exchange: Exchange) -> Answer:
        signed = f"{exchange.target} {exchange.headers}"
        what = f"<Code>{code}</Code><Message>{signed}</Message><CanonicalRequest>{signed}</CanonicalRequest>"
        body = f"<Error>{what}</Error>"
        return Answer(number, body.encode() if exchange.body is not None else b"")

    return answer


@pytest.mark.parametrize(
    ("number", "code"), [(403, "SignatureDoesNotMatch"), (400, "ExpiredToken"), (418, "Teapot"), (500, "InternalError")]
)
def test_a_service_that_repeats_what_was_signed(
    scene: Scene, canary_proxy: FaultyProxy, number: int, code: str
) -> None:
    for kind in ("PutObject", "GetObject", "HeadObject", "ListObjects", "DeleteObject"):
        canary_proxy.every(kind, repeating(number, code))
    fail(scene, s3_endpoint_url=canary_proxy.endpoint)


def test_a_service_that_fails_in_the_middle(scene: Scene, canary_proxy: FaultyProxy) -> None:
    """What was stored before cannot be read, and what is new cannot be stored, and not be deleted again."""
    create_backup()
    scene.place = replace(scene.place, parameters={**scene.place.parameters, "s3_endpoint_url": canary_proxy.endpoint})
    scene.configure()
    for kind, fault in {
        "PutObject": faults.cut_in_the_middle,
        "GetObject": faults.cut_answer,
        "DeleteObject": faults.status(403, "AccessDenied", "Access Denied"),
    }.items():
        canary_proxy.every(kind, fault)
    for command in (
        "backup_create --json",
        "backup_verify --json",
        "backup_restore --yes",
        "backup_delete latest --yes",
    ):
        scene.call(*command.split(), code=1)
