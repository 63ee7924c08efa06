"""The commands with a bucket: the same output as with a folder, and no file on this machine's disk."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.checks import run_checks

from django_cfg.backup.services.monitoring.preflight import run_preflight
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.storage.object_store import place
from tests.support.django_project import Site
from tests.support.faulty_s3_proxy import Answer, Exchange, FaultyProxy
from tests.support.s3_server import S3Server

UPLOAD = """
import resource
import sys
import django
from django.conf import settings
settings.configure(BACKUP={{"storage": {parameters!r}}}, INSTALLED_APPS=["django_cfg.backup"], DATABASES={{}})
django.setup()
from django_cfg.backup.pipeline.archive import pack
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.storage.object_store import place
from tests.support.noise import Noise
size = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # no file of more than a megabyte can be written
with current_project().storage.publish("shop.gz", expected_size=size) as sink:
    print(pack(Noise(size), sink, "gzip").stored.size)
"""


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.new_bucket()


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(s3_server)
    yield proxy
    proxy.stop()


@pytest.fixture
def remote(site: Site, s3_server: S3Server, bucket: str) -> Site:
    """The project of *site*, its backups in *bucket*."""
    site.always["storage"] = s3_server.config(bucket)
    site.configure()
    return site


@pytest.mark.usefixtures("books")
def test_a_backup_is_made_listed_shown_verified_and_restored(remote: Site, s3_server: S3Server, bucket: str) -> None:
    created = remote.call("backup_create", "--json").json
    name = created[0]["name"] if isinstance(created, list) else created["name"]
    archive, manifest = s3_server.files(bucket)
    assert manifest == f"db-backups/{name}.json"
    assert re.fullmatch(rf"db-backups/{name}\.[0-9a-f]{{8}}\.sqlite3\.gz", archive)
    assert not remote.backups.exists()
    assert [backup["name"] for backup in remote.call("backup_list", "--json").json] == [name]
    assert name in remote.call("backup_show", "latest").stdout
    assert remote.call("backup_verify").code == 0
    remote.sql("DELETE FROM book")
    restored = remote.call("backup_restore", "latest", "--yes")
    assert (restored.code, remote.sql("SELECT count(*) FROM book")) == (0, [(200,)]), restored.stderr


@pytest.mark.usefixtures("books")
def test_a_backup_is_downloaded_pinned_and_deleted(
    remote: Site, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    manifest = remote.create()
    assert remote.call("backup_download", manifest.name, "--to", str(tmp_path / "out")).code == 0
    downloaded = tmp_path / "out" / manifest.archive_key
    stored = s3_server.data / bucket / "db-backups" / manifest.archive_key
    assert downloaded.read_bytes() == stored.read_bytes()
    assert remote.call("backup_pin", manifest.name).code == 0
    assert f"db-backups/{manifest.name}.pin.json" in s3_server.files(bucket)
    assert remote.call("backup_pin", manifest.name, "--unpin").code == 0
    assert remote.call("backup_delete", manifest.name, "--yes", "--force").code == 0
    assert s3_server.files(bucket) == []


@pytest.mark.parametrize("same_size", [False, True])
@pytest.mark.usefixtures("books")
def test_a_name_that_another_machine_has_taken(
    remote: Site, s3_server: S3Server, bucket: str, proxy: FaultyProxy, same_size: bool
) -> None:
    """In the same second, at a service that overwrites: its manifest comes right after ours."""
    other = remote.create()
    folder = s3_server.data / bucket / "db-backups"
    theirs = json.loads((folder / other.key).read_text())

    def overwrite(exchange: Exchange) -> Answer:
        answer = exchange.forward()
        if exchange.path.endswith(".json"):
            name = exchange.path.rpartition("/")[2].removesuffix(".json")
            key = other.archive.key.replace(other.name, name)
            (folder / other.archive.key).rename(folder / key)
            content = json.dumps({**theirs, "name": name, "archive": {**theirs["archive"], "key": key}})
            exchange.stored.write_text(content.ljust(len(exchange.body)) if same_size else content)
        return answer

    (folder / other.key).unlink()
    proxy.every("PutObject", overwrite)
    remote.configure(storage={**s3_server.parameters(bucket), "s3_endpoint_url": proxy.endpoint})
    answer = remote.call("backup_create")
    assert answer.code == 1
    assert "nothing is ever overwritten" in answer.stderr
    assert len(s3_server.files(bucket)) == 2, "only what the other machine made"
    assert remote.call("backup_verify").code == 0


@pytest.mark.usefixtures("books")
def test_an_archive_whose_name_another_machine_took_is_a_leftover(
    remote: Site, s3_server: S3Server, bucket: str
) -> None:
    """Its run was killed before it could withdraw it; the manifest of that name is another machine's."""
    manifest = remote.create()
    folder = s3_server.data / bucket / "db-backups"
    lost = f"{manifest.name}.00000000.sqlite3.gz"
    (folder / lost).write_bytes(b"lost")
    shown = remote.call("backup_prune", "--leftovers", "--dry-run")
    assert lost in shown.stdout
    assert manifest.archive.key not in shown.stdout
    assert remote.call("backup_verify").code == 0


def test_two_backups_in_one_second_have_different_names(remote: Site) -> None:
    names = {remote.create().name for _ in range(3)}
    assert len(names) == 3


def test_a_failing_database_does_not_stop_the_others(remote: Site, s3_server: S3Server, bucket: str) -> None:
    missing = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(remote.root / "missing.sqlite3")}
    there = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(remote.database)}
    remote.use_databases(default=missing, second=there)
    assert remote.call("backup_create").code == 3
    assert [name.split("_")[0] for name in s3_server.files(bucket)] == ["db-backups/second"] * 2


def test_a_missing_bucket_is_an_error(remote: Site, s3_server: S3Server) -> None:
    remote.configure(storage=s3_server.config("no-such-bucket"))
    for command in ("backup_create", "backup_list", "backup_check"):
        answer = remote.call(command)
        assert answer.code == 1
        assert "check s3_bucket" in answer.stdout + answer.stderr


def test_an_unreadable_manifest_is_reported_with_the_other_backups(
    remote: Site, s3_server: S3Server, bucket: str
) -> None:
    good = remote.create()
    (s3_server.data / bucket / "db-backups" / "bad.json").write_text("{")
    answer = remote.call("backup_list")
    assert good.name in answer.stdout
    assert "bad.json" in answer.stderr


@pytest.mark.usefixtures("notified")
class TestChecks:
    def test_backup_check_writes_reads_and_deletes(self, remote: Site, s3_server: S3Server, bucket: str) -> None:
        """Free space is not checked: a bucket does not report it."""
        answer = remote.call("backup_check", "--json")
        assert answer.code == 0
        assert [finding["subject"] for finding in answer.json] == ["settings", "storage", "clock", "notify", "default"]
        assert s3_server.files(bucket) == []

    def test_plain_http_to_another_host_is_a_system_check_warning(self, remote: Site, s3_server: S3Server) -> None:
        """No request is sent."""
        remote.configure(storage=s3_server.config("any", s3_endpoint_url="http://minio.example:9000"))
        assert [(check.id, "https://" in (check.hint or "")) for check in run_checks(tags=["backup"])] == [
            ("django_cfg_backup.W020", True)
        ]

    def test_backup_check_warns_of_plain_http(
        self, remote: Site, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Loopback passes for another host here: there is no other."""
        monkeypatch.setattr(place, "_LOOPBACK", __import__("re").compile("nothing"))
        found = [finding for finding in run_preflight(current_project()) if finding.level == "WARNING"]
        assert ["over plain HTTP" in finding.text for finding in found] == [True]

    def test_a_guessed_project_name_is_a_warning(self, remote: Site) -> None:
        remote.set(PROJECT_NAME="")
        assert [check.id for check in run_checks(tags=["backup"])] == ["django_cfg_backup.W021"]

    def test_https_and_a_project_name_cause_no_warning(self, remote: Site, s3_server: S3Server) -> None:
        remote.configure(storage=s3_server.config("any", s3_endpoint_url="https://s3.example.com"))
        assert run_checks(tags=["backup"]) == []


def test_a_large_upload_writes_no_temporary_file(s3_server: S3Server, bucket: str) -> None:
    """The system would refuse one. How much memory it takes is measured by benchmarks/memory.py."""
    size = 30_000_000
    script = UPLOAD.format(parameters=s3_server.parameters(bucket))
    argv = [sys.executable, "-W", "error", "-c", script, str(size)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == (s3_server.data / bucket / "db-backups/shop.gz").stat().st_size > size
