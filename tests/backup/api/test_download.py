"""Downloads of archives, as they are stored."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from django.test import AsyncClient

from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.manifest import Manifest
from tests.support.api_client import TOKEN, Api, address, headers, refused


@pytest.fixture
def open_api(api: Api, made: list[Manifest]) -> Api:
    api.configure(api={"allow_download": True})
    return api


def test_it_has_to_be_switched_on(api: Api, made: list[Manifest]) -> None:
    """The setting of the admin does not."""
    api.configure(web_download=True, api={"allow_restore": True})
    assert "BackupApiConfig(allow_download=True)" in refused(api.get("download/latest"), 403)


def test_the_archive_as_it_is_stored(open_api: Api, made: list[Manifest]) -> None:
    answer = open_api.get("download/latest")
    content = b"".join(answer.streaming_content)
    archive = made[1].archive
    assert hashlib.sha256(content).hexdigest() == archive.sha256 == answer["X-Archive-SHA256"]
    assert answer["Content-Length"] == str(len(content)) == str(archive.size)
    assert answer["Content-Disposition"] == f'attachment; filename="{archive.key}"'
    assert (answer["Cache-Control"], answer["X-Content-Type-Options"]) == ("no-store", "nosniff")


def test_a_damaged_archive(open_api: Api, made: list[Manifest]) -> None:
    """A small one is refused; of a large one the last bytes are never sent."""
    path = open_api.site.backups / made[1].archive_key
    path.write_bytes(bytes(path.stat().st_size))
    assert made[1].archive_key in refused(open_api.get("download/latest"), 422, 1)
    open_api.site.sql("CREATE TABLE photo (content blob)", "INSERT INTO photo VALUES (randomblob(4000000))")
    large = open_api.site.create()
    path = open_api.site.backups / large.archive_key
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    received: list[bytes] = []
    with pytest.raises(VerificationFailed):
        received.extend(open_api.get("download/latest").streaming_content)
    assert 0 < sum(map(len, received)) < large.archive.size


def test_under_asgi_it_is_sent_while_it_is_read(open_api: Api) -> None:
    """A backup may be larger than the memory: what is sent before its damaged end is found was not collected first."""
    open_api.site.sql("CREATE TABLE photo (content blob)", "INSERT INTO photo VALUES (randomblob(4000000))")
    made = open_api.site.create()
    path = open_api.site.backups / made.archive_key
    content = path.read_bytes()

    received: list[bytes] = []

    async def download() -> None:
        received.clear()
        answer: Any = await AsyncClient().get(address(f"download/{made.name}"), headers=headers(TOKEN))
        async for block in answer:
            received.append(block)  # noqa: PERF401  also what comes before an error

    asyncio.run(download())
    assert b"".join(received) == content
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(VerificationFailed):
        asyncio.run(download())
    assert 0 < sum(map(len, received)) < len(content)


def test_a_damaged_archive_that_is_intact_elsewhere(open_api: Api) -> None:
    """As far as its beginning shows that; of a small one all is read then."""
    site = open_api.site
    places = {"storage": {"local_path": str(site.backups)}}
    copies = [{"name": "offsite", "storage": {"local_path": str(site.root / "offsite")}}]
    open_api.configure(api={"allow_download": True}, copies=copies, **places)
    manifest = site.create()
    for damage in (lambda path: path.write_bytes(bytes(path.stat().st_size)), lambda path: path.unlink()):
        damage(site.backups / manifest.archive_key)
        content = b"".join(open_api.get(f"download/{manifest.name}").streaming_content)
        assert hashlib.sha256(content).hexdigest() == manifest.archive.sha256


def test_other_parts(open_api: Api, made: list[Manifest]) -> None:
    assert open_api.get("download/latest?part=1").status_code == 200
    for query in ("?part=2", "?part=0", "?part=x", "?form=plain"):
        refused(open_api.get(f"download/latest{query}"), 400)


def test_what_is_no_backup(open_api: Api, made: list[Manifest]) -> None:
    for name in ("nosuch", "../db.sqlite3", "..%2fdb.sqlite3", "%00"):
        refused(open_api.get(f"download/{name}"), 404, 5)


def test_a_backup_of_another_project(open_api: Api, made: list[Manifest]) -> None:
    """It may be in the same storage, and a token of this site does not open it."""
    open_api.configure(project="other", api={"allow_download": True})
    assert "is of tests/test/default" in refused(open_api.get(f"download/{made[0].name}"), 404, 5)


def test_the_length_without_the_archive(open_api: Api, made: list[Manifest]) -> None:
    answer = open_api.client.head(address("download/latest"), headers=headers(TOKEN))
    assert (answer.status_code, answer["Content-Length"]) == (200, str(made[1].archive.size))
    assert b"".join(answer.streaming_content) == b""


def test_one_of_several_archives_has_to_be_chosen(open_api: Api, made: list[Manifest]) -> None:
    old, rows = made[1], b"rows"
    facts = {"key": f"{old.name}.rows1.sqlite3.gz", "size": len(rows), "sha256": hashlib.sha256(rows).hexdigest()}
    more = old.archive.model_copy(update=facts)
    (open_api.site.backups / more.key).write_bytes(rows)
    (open_api.site.backups / old.key).write_bytes(old.model_copy(update={"row_archives": (more,)}).to_json())
    assert "has 2 archives: get each with ?part=1 to ?part=2." in refused(open_api.get("download/latest"), 400)
    assert b"".join(open_api.get("download/latest", {"part": 2}).streaming_content) == rows
