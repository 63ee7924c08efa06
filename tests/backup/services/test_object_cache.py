"""Copies of manifests and proofs: a page reads what has changed, and sees what is stored."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from django_cfg.backup.manifest import Manifest, Proof, Signature
from django_cfg.backup.models import CachedObject
from django_cfg.backup.services.catalog.catalog import Catalog, read_catalog
from django_cfg.backup.services.monitoring import object_cache
from django_cfg.backup.services.monitoring.object_cache import ObjectCache, forget_copies
from django_cfg.backup.services.verification.proofs import write_proof
from django_cfg.backup.storage.base import Storage
from django_cfg.backup.storage.local import LocalStorage
from tests.support.django_project import Site
from tests.support.faulty_s3_proxy import FaultyProxy
from tests.support.manifests import make_manifest, publish
from tests.support.processes import Stopwatch
from tests.support.s3_server import S3Server

KEY = "k" * 40


@pytest.fixture(autouse=True)
def _new_process() -> Iterator[None]:
    forget_copies()
    yield
    forget_copies()


class Place:
    """A storage, and how many of its objects were read."""

    def __init__(self, storage: Storage, objects_read: Callable[[], int]) -> None:
        self.storage, self._objects_read = storage, objects_read

    def page(self, *keys: str) -> tuple[Catalog, int]:
        """What a page sees, and how many objects it had to read."""
        before = self._objects_read()
        cache = ObjectCache(self.storage)
        catalog = read_catalog(self.storage, keys, cache.read_many)
        cache.save()
        return catalog, self._objects_read() - before


class CountingStorage(LocalStorage):
    count = 0

    def read(self, key: str) -> bytes:
        CountingStorage.count += 1
        return super().read(key)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultyProxy]:
    made = FaultyProxy(s3_server)
    yield made
    made.stop()


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, site: Site, s3_server: S3Server, proxy: FaultyProxy) -> Place:
    if request.param == "local":
        return Place(CountingStorage(site.backups), lambda: CountingStorage.count)
    storage = s3_server.storage(s3_server.new_bucket(), s3_endpoint_url=proxy.endpoint)
    return Place(storage, lambda: proxy.seen.count("GetObject"))


def backups(*names: str, **values: object) -> list[Manifest]:
    at = datetime(2026, 6, 1, tzinfo=UTC)
    return [make_manifest(name, started_at=at + timedelta(hours=number), **values) for number, name in enumerate(names)]


def proof_of(manifest: Manifest) -> Proof:
    sha256 = manifest.archive.sha256
    return Proof(name=manifest.name, archive_sha256=sha256, at=manifest.started_at, duration=1, succeeded=True)


def names(catalog: Catalog) -> list[str]:
    return sorted(manifest.name for manifest in catalog.backups)


class TestReading:
    def test_each_object_is_read_once_by_all_processes(self, place: Place) -> None:
        made = backups("a", "b", "c")
        publish(place.storage, *made)
        write_proof(place.storage, made[0], proof_of(made[0]))
        first, count = place.page()
        assert (names(first), count) == (["a", "b", "c"], 4)
        assert place.page() == (first, 0)
        forget_copies()  # another process: from the table
        again, count = place.page()
        assert (again.backups, again.proofs, count) == (first.backups, first.proofs, 0)
        assert CachedObject.objects.count() == 4

    def test_a_page_makes_one_list_and_no_other_request(self, place: Place, proxy: FaultyProxy) -> None:
        publish(place.storage, *backups("a", "b"))
        place.page()
        proxy.seen.clear()
        place.page()
        assert proxy.seen in ([], ["ListObjects"])

    def test_a_changed_object_of_the_same_size_is_read_again(self, place: Place) -> None:
        (made,) = backups("a", note="old")
        publish(place.storage, made)
        place.page()
        place.storage.delete(made.key)
        place.storage.write(made.key, made.model_copy(update={"note": "new"}).to_json())
        changed, count = place.page()
        assert ([manifest.note for manifest in changed.backups], count) == (["new"], 1)
        forget_copies()
        again, count = place.page()
        assert ([manifest.note for manifest in again.backups], count) == (["new"], 0)
        assert CachedObject.objects.count() == 1

    def test_what_is_deleted_leaves_the_table(self, place: Place) -> None:
        made = backups("a", "b")
        publish(place.storage, *made)
        place.page()
        place.storage.delete(made[0].key)
        assert names(place.page()[0]) == ["b"]
        assert CachedObject.objects.count() == 1

    def test_what_another_process_has_kept_and_is_deleted_leaves_the_table(self, place: Place) -> None:
        made = backups("a", "b")
        publish(place.storage, *made)
        place.page()
        place.storage.delete(made[0].key)
        forget_copies()
        place.page()
        assert CachedObject.objects.count() == 1

    def test_a_storage_with_several_pages_of_a_list(self, site: Site, s3_server: S3Server, proxy: FaultyProxy) -> None:
        bucket = s3_server.new_bucket()
        storage = s3_server.storage(bucket, s3_endpoint_url=proxy.endpoint)
        folder = s3_server.data / bucket / storage.place.prefix
        folder.mkdir(parents=True, exist_ok=True)
        publish(LocalStorage(folder), *backups("a", "z"))
        for number in range(1_100):
            (folder / f"m{number}").touch()
        place = Place(storage, lambda: proxy.seen.count("GetObject"))
        first, count = place.page()
        assert (names(first), count) == (["a", "z"], 2)
        forget_copies()
        proxy.seen.clear()
        assert names(place.page()[0]) == ["a", "z"]
        assert proxy.seen == ["ListObjects"] * 2

    def test_two_storages_share_a_table(self, site: Site, tmp_path: Path) -> None:
        one, other = LocalStorage(tmp_path / "one"), LocalStorage(tmp_path / "other")
        publish(one, *backups("a", note="one"))
        publish(other, *backups("a", note="other"))
        for storage, note in ((one, "one"), (other, "other"), (one, "one")):
            catalog, _ = Place(storage, lambda: 0).page()
            assert [manifest.note for manifest in catalog.backups] == [note]
        assert CachedObject.objects.count() == 2


class TestJudgement:
    """What is wrong with an object is reported as without copies."""

    def test_damaged_manifests(self, place: Place) -> None:
        cut, lost, garbage = backups("cut", "lost", "garbage")
        publish(place.storage, cut, lost)
        for key in (cut.archive_key, lost.archive_key):
            place.storage.delete(key)
        place.storage.write(cut.archive_key, b"short")
        place.storage.write(garbage.key, b"{no json")
        without = read_catalog(place.storage)
        for _ in range(3):
            catalog, _ = place.page()
            assert {damaged.name: str(damaged.error) for damaged in catalog.damaged} == {
                damaged.name: str(damaged.error) for damaged in without.damaged
            }
            forget_copies()
        assert len(without.damaged) == 3
        assert place.page()[1] == 0, "they are read once, too"

    def test_an_archive_that_is_lost_later(self, place: Place) -> None:
        (made,) = backups("a")
        publish(place.storage, made)
        place.page()
        place.storage.delete(made.archive_key)
        catalog, _ = place.page()
        assert [damaged.name for damaged in catalog.damaged] == ["a"]

    def test_signatures_are_checked_on_copies(self, place: Place) -> None:
        signed, plain = backups("signed", "plain")
        publish(place.storage, plain)
        place.storage.write(signed.archive_key, b"the archive of signed")
        place.storage.write(signed.key, signed.to_json(KEY))
        for _ in range(2):
            catalog, _ = place.page(KEY)
            assert catalog.signatures == {"signed": Signature.GOOD, "plain": Signature.NONE}
        assert place.page("x" * 40)[0].signatures["signed"] is Signature.BAD

    def test_a_forged_copy_has_a_bad_signature(self, place: Place) -> None:
        """Who can write to the database cannot make a backup look signed."""
        (made,) = backups("a")
        place.storage.write(made.archive_key, b"the archive of a")
        place.storage.write(made.key, made.to_json(KEY))
        place.page(KEY)
        copy = CachedObject.objects.get()
        CachedObject.objects.update(content=bytes(copy.content).replace(b"db1", b"db2"))
        forget_copies()
        assert place.page(KEY)[0].signatures == {"a": Signature.BAD}


class TestTable:
    def test_without_the_table_the_storage_is_read(self, place: Place) -> None:
        call_command("migrate", "django_cfg_backup", "zero", verbosity=0)
        publish(place.storage, *backups("a"))
        assert names(place.page()[0]) == ["a"]
        forget_copies()
        assert place.page()[1] == 1

    def test_a_database_that_is_lost(self, place: Place, site: Site) -> None:
        publish(place.storage, *backups("a"))
        site.close()
        site.database.unlink()
        assert names(place.page()[0]) == ["a"]
        assert not site.database.exists()

    def test_a_silent_database_does_not_hold_up_a_page(self, place: Place, site: Site) -> None:
        publish(place.storage, *backups("a"))
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            server = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": "127.0.0.1", "PORT": port}
            site.use_databases(default={**server, "OPTIONS": {"connect_timeout": 2}})
            watch = Stopwatch()
            assert names(place.page()[0]) == ["a"]
            assert watch.seconds < 4

    def test_a_locked_database_is_not_waited_for_long(self, site: Site, place: Place) -> None:
        """A restore or another page writes: what is not kept now is kept by the next page."""
        publish(place.storage, *backups("a"))
        site.use_databases(
            default={
                "ENGINE": "django.db.backends.sqlite3", "NAME": str(site.database), "OPTIONS": {"timeout": 0.1},
            }
        )  # fmt: skip
        with closing(sqlite3.connect(site.database)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert names(place.page()[0]) == ["a"]
            other.rollback()
        assert CachedObject.objects.count() == 0
        forget_copies()
        place.page()
        assert CachedObject.objects.count() == 1

    def test_the_transaction_of_a_request_goes_on(self, place: Place) -> None:
        call_command("migrate", "django_cfg_backup", "zero", verbosity=0)
        publish(place.storage, *backups("a"))
        with transaction.atomic():
            place.page()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                assert cursor.fetchone() == (1,)

    def test_several_threads_at_once(self, place: Place) -> None:
        publish(place.storage, *backups(*(f"b{number}" for number in range(20))))
        seen: list[list[str]] = []

        def look() -> None:
            try:
                for _ in range(5):
                    seen.append(names(place.page()[0]))
                    forget_copies()
            finally:
                connection.close()

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 20
        assert {len(found) for found in seen} == {20}
        place.page()
        assert CachedObject.objects.count() == 20


class TestBounds:
    def test_memory_is_bounded_by_bytes_and_the_storage_is_not_read_for_that(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(object_cache, "_MOST_BYTES", 3_000)
        publish(place.storage, *backups(*(f"b{number}" for number in range(20))))
        assert place.page()[1] == 20
        assert object_cache._memory._size <= 3_000
        catalog, count = place.page()
        assert (len(catalog.backups), count) == (20, 0)

    def test_a_large_object_is_not_kept(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(object_cache, "_LARGEST", 100)
        publish(place.storage, *backups("a"))
        assert [place.page()[1] for _ in range(2)] == [1, 1]
        assert CachedObject.objects.count() == 0
