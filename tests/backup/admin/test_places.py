"""Several places on the pages: how each backup is in each of them, and one that is away."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from django_cfg.backup import create_backup
from django_cfg.backup.errors import CopyFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.stream import Readable
from django_cfg.backup.storage.local import LocalStorage
from tests.support.admin_pages import PASSWORD, address, client_of, make_user
from tests.support.django_project import Site
from tests.support.processes import Stopwatch

LIMIT = 5.0  # seconds


Page = Callable[..., str]


@pytest.fixture
def page(admin: Site) -> Page:
    """A page of the admin, by the name of its address."""
    client = client_of(make_user("root", is_superuser=True))

    def read(path: str, **query: Any) -> str:
        answer = client.get(address(path), query)
        assert answer.status_code == 200
        return str(answer.text)

    return read


@pytest.fixture
def offsite(admin: Site) -> Path:
    folder = admin.root / "offsite"
    admin.configure(copies=[{"name": "offsite", "storage": {"local_path": str(folder)}}])
    return folder


def test_each_backup_shows_where_it_is(page: Page, offsite: Path) -> None:
    first = create_backup()
    (offsite / first.key).unlink()
    second = create_backup()
    (offsite / second.archive_key).write_bytes(b"cut")
    assert "offsite: missing" in page("backup", name=first.name)
    assert "offsite: damaged" in page("backup", name=second.name)
    assert "offsite: missing" in page("backups")
    overview = page("overview")
    assert "incomplete" in overview
    assert "Partly failed" in overview


def test_a_silent_place_holds_up_no_page(admin: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = {
            "backend": "s3", "s3_bucket": "b", "s3_endpoint_url": f"http://127.0.0.1:{server.getsockname()[1]}",
            "s3_access_key": "A" * 12, "s3_secret_key": "s" * 12,
        }  # fmt: skip
        manifest: Manifest = admin.create()
        admin.configure(copies=[{"name": "offsite", "storage": silent}])
        client = client_of(make_user("root", is_superuser=True))
        for name, query in (("overview", {}), ("backups", {}), ("backup", {"name": manifest.name})):
            watch = Stopwatch()
            answer = client.get(address(name), query)
            assert watch.seconds < LIMIT
            assert (answer.status_code, manifest.name in answer.text) == (200, True)
        assert "offsite: unknown" in answer.text


@pytest.mark.usefixtures("offsite")
def test_main_away(admin: Site, page: Page) -> None:
    (admin.root / "backups").write_text("no folder")
    with pytest.raises(CopyFailed) as failure:
        create_backup()
    manifest = failure.value.manifest
    assert manifest.name in page("backups")
    assert "main: unknown" in page("backup", name=manifest.name)
    assert "away" in page("overview")


@pytest.mark.parametrize("form", ["stored", "plain"])
def test_a_download_of_what_is_damaged_in_one_place(admin: Site, offsite: Path, form: str) -> None:
    manifest = create_backup()
    archive = manifest.archive
    path = admin.backups / manifest.archive_key
    path.write_bytes(bytes(path.stat().st_size))
    client = client_of(make_user("root", is_superuser=True))
    answer = client.post(address("download"), {"name": manifest.name, "form": form, "password": PASSWORD})
    assert answer.status_code == 200, "it is good elsewhere"
    expected = archive.sha256 if form == "stored" else archive.raw_sha256
    assert hashlib.sha256(answer.getvalue()).hexdigest() == expected


def test_a_download_from_a_place_that_does_not_answer(admin: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lists its objects still."""
    manifest, ended = create_backup(), Event()
    client = client_of(make_user("root", is_superuser=True))

    open_at_once = LocalStorage.open

    def open_late(storage: LocalStorage, key: str) -> AbstractContextManager[Readable]:
        if key == manifest.archive_key:
            ended.wait(60)
        return open_at_once(storage, key)

    monkeypatch.setattr(LocalStorage, "open", open_late)
    form = {"name": manifest.name, "form": "stored", "password": PASSWORD}
    watch = Stopwatch()
    try:
        answer = client.post(address("download"), form, follow=True)
        assert watch.seconds < LIMIT
    finally:
        ended.set()
    assert "has not answered within 4 s" in answer.text
