"""A machine without the extra of zstd: refused before anything begins, with the command that helps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from django.core.checks import ERROR

from django_cfg.backup import create_backup, drill_backup, restore_backup, verify_backup
from django_cfg.backup.checks import check_backup
from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.pipeline.zstd_frame import zstd_library
from django_cfg.backup.services.catalog.download import download_backup
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site

pytestmark = [pytest.mark.usefixtures("books"), pytest.mark.skipif(sys.version_info >= (3, 14), reason="in Python")]
COMMAND = r"pip install 'django-cfg-backup\[zstd\]'"


@pytest.fixture
def stored(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manifest]:
    """A backup that was made when the library was still there."""
    site.configure(compression="zstd")
    manifest = create_backup()
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    zstd_library.cache_clear()
    yield manifest
    zstd_library.cache_clear()


def test_no_backup_is_begun(site: Site, stored: Manifest) -> None:
    before = site.stored()
    with pytest.raises(ConfigurationError, match=COMMAND):
        create_backup()
    assert site.stored() == before


def test_the_check_is_an_error(stored: Manifest) -> None:
    """As the one of a missing obstore; Django runs it at every start."""
    (message,) = check_backup()
    assert (message.id, message.level) == ("django_cfg_backup.E001", ERROR)
    assert "django-cfg-backup[zstd]" in message.msg


def test_backup_check_fails(site: Site, stored: Manifest) -> None:
    done = site.call("backup_check")
    assert done.code != 0
    assert "django-cfg-backup[zstd]" in done.stdout + done.stderr


@pytest.mark.parametrize("attempt", [verify_backup, drill_backup, restore_backup])
def test_nothing_is_touched(site: Site, stored: Manifest, attempt: Callable[[], object]) -> None:
    site.sql("UPDATE book SET title = 'after the backup'")
    before = site.content()
    with pytest.raises(ConfigurationError, match=COMMAND):
        attempt()
    assert site.content() == before


def test_it_can_still_be_listed_and_downloaded_as_it_is(site: Site, stored: Manifest) -> None:
    storage = current_project().storage
    assert site.call("backup_list").code == 0
    assert download_backup(storage, stored, site.root / "out").name == stored.archive_key
    with pytest.raises(ConfigurationError, match=COMMAND):
        download_backup(storage, stored, site.root / "plain", plain=True)


def test_an_older_backup_is_restored_without_it(site: Site, stored: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is how that backup was compressed, not the configuration."""
    site.configure(compression="gzip")
    older = create_backup()
    assert restore_backup(older.name).restored == older.name
