"""S3 accepts keys that are no valid paths. Such a key, by accident or by an attacker, hides no other object."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

import pytest

from django_cfg.backup.errors import StorageError
from tests.support.django_project import Site
from tests.support.faulty_s3_proxy import Answer, Exchange, Fault, FaultyProxy, status
from tests.support.s3_server import S3Server

ODD = ["db-backups//x.json", "db-backups/./x.json", "db-backups/../x", "db-backups/a\x1b[2Jb", "db-backups/a\nb.json"]


def with_objects(*keys: str) -> Fault:
    """A service whose answer lists *keys* too, as Amazon's does; rclone keeps its objects in files, which have no such
    names."""

    def answer(exchange: Exchange) -> Answer:
        found = exchange.forward()
        is_encoded = "encoding-type" in parse_qs(urlsplit(exchange.target).query)
        text = found.body.decode()
        written = [quote(key) if is_encoded else re.sub(r"[\x00-\x1f]", _reference, escape(key)) for key in keys]
        more = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag>"
            f"<Size>3</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in written
        )
        how = "<EncodingType>url</EncodingType>" if is_encoded and "<EncodingType>" not in text else ""
        body = text.replace("</ListBucketResult>", f"{how}{more}</ListBucketResult>").encode()
        return Answer(found.status, body, {**found.headers, "Content-Length": str(len(body))})

    return answer


def _reference(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


@pytest.mark.parametrize("key", ODD)
def test_the_other_objects_are_listed(
    s3_server: S3Server, proxy: FaultyProxy, bucket: str, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    good = ["a.json", "sp ace+plus.json", "fol/der/ünï.json", "per%cent.json"]
    storage = s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint)
    for name in good:
        storage.write(name, b"{}")
    proxy.every("ListObjects", with_objects(key))
    assert sorted(found.key for found in storage.list()) == sorted(good)
    assert all(found.size == 2 for found in storage.list())
    assert repr(key) in caplog.text
    assert storage.is_taken("a")
    assert not storage.is_taken("b")


def test_an_invalid_key_among_many_pages(s3_server: S3Server, proxy: FaultyProxy, bucket: str) -> None:
    storage = s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint)
    keys = {f"{number:04}.json" for number in range(2_050)}
    for key in keys:
        path = s3_server.data / bucket / "db-backups" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    proxy.every("ListObjects", with_objects(*ODD))
    assert {found.key for found in storage.list()} == keys


def test_a_service_that_refuses_the_second_request(s3_server: S3Server, proxy: FaultyProxy, bucket: str) -> None:
    storage = s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint)
    storage.write("a.json", b"{}")
    proxy.next("ListObjects", with_objects(*ODD))
    proxy.every("ListObjects", status(403, "AccessDenied"))
    with pytest.raises(
        StorageError, match=r"Could not list the objects.*AccessDenied|Could not list the objects.*refus"
    ):
        list(storage.list())


def test_every_command_works_with_an_invalid_key(
    s3_server: S3Server, proxy: FaultyProxy, bucket: str, site: Site, books: object
) -> None:
    site.configure(storage=s3_server.parameters(bucket) | {"s3_endpoint_url": proxy.endpoint})
    name = site.create().name
    proxy.every("ListObjects", with_objects(*ODD))
    for command in ("backup_list", "backup_status", f"backup_show {name}", f"backup_verify {name}", "backup_check",
                    "backup_prune --yes", f"backup_restore {name} --yes", "backup_create"):  # fmt: skip
        answer = site.call(*command.split())
        assert answer.code in (0, 4), f"{command}: {answer.stderr}"
        assert command != "backup_list" or name in answer.stdout
