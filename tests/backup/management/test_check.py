"""backup_check: what a backup needs, looked at for real."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from django_cfg.backup.storage.local import LocalStorage
from tests.support.django_project import Site


def levels(site: Site) -> dict[str, str]:
    """The worst level of each subject."""
    found: dict[str, str] = {}
    for finding in site.call("backup_check", "--json").json:
        found[finding["subject"]] = max(found.get(finding["subject"], ""), finding["level"], key=_badness)
    return found


def _badness(level: str) -> int:
    return ["", "OK", "WARNING", "FAILED"].index(level)


def test_a_healthy_project_passes_and_nothing_is_left(site: Site) -> None:
    answer = site.call("backup_check")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.stdout.splitlines()] == ["OK"] * 5
    assert site.stored() == []


def test_each_line_tells_its_subject(site: Site) -> None:
    assert levels(site) == {"settings": "OK", "storage": "OK", "clock": "OK", "space": "OK", "default": "OK"}


def test_a_missing_database_fails_and_the_rest_is_still_looked_at(site: Site) -> None:
    site.database.unlink()
    answer = site.call("backup_check")
    assert answer.code == 1
    assert "FAILED   default: The database 'default' is missing" in answer.stdout
    assert "OK       storage" in answer.stdout
    assert not site.database.exists()


def test_a_misspelt_table_fails(site: Site) -> None:
    site.configure(databases=[{"alias": "default", "exclude_tables": ["django_sesion"]}])
    answer = site.call("backup_check")
    assert answer.code == 1
    assert "'django_sesion'" in answer.stdout


def test_a_storage_that_cannot_be_written_fails(site: Site) -> None:
    site.backups.write_text("a file where the folder should be")
    answer = site.call("backup_check")
    assert answer.code == 1
    assert "FAILED   storage" in answer.stdout


def test_switched_off_backups_fail(site: Site) -> None:
    site.configure(enabled=False)
    assert levels(site)["settings"] == "FAILED"


def test_a_backup_from_the_future_is_a_warning(site: Site) -> None:
    manifest = site.create()
    path = site.backups / manifest.key
    later = datetime.now(UTC) + timedelta(hours=1)
    started = manifest.model_dump(mode="json")["started_at"]
    path.write_text(path.read_text().replace(started, later.strftime("%Y-%m-%dT%H:%M:%SZ")))
    answer = site.call("backup_check")
    assert answer.code == 4
    assert f"WARNING  clock: {manifest.name} is dated in the future" in answer.stdout


def test_a_clock_that_differs_from_the_storages_is_a_warning(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    write = LocalStorage.write

    def write_as_of_yesterday(self: LocalStorage, key: str, data: bytes) -> None:
        write(self, key, data)
        os.utime(self.root / key, (0, datetime.now(UTC).timestamp() - 86_400))

    monkeypatch.setattr(LocalStorage, "write", write_as_of_yesterday)
    assert levels(site)["clock"] == "WARNING"


def test_too_little_space_for_one_more_backup_is_a_warning(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.create()
    monkeypatch.setattr(LocalStorage, "free_space", lambda self: 100)
    assert levels(site)["space"] == "WARNING"


def test_a_damaged_backup_is_a_warning(site: Site) -> None:
    manifest = site.create()
    Path(site.backups, manifest.archive_key).unlink()
    assert levels(site)["storage"] == "WARNING"
