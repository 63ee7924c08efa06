"""Undoing a restore: the kept data becomes the database again, and the restored data is kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from django.db import transaction

from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.models import Run
from django_cfg.backup.services.restore.restore import restore_backup
from django_cfg.backup.services.restore.undo import undo_restore
from tests.support.django_project import Site


@pytest.fixture
def restored(site: Site, books: Path) -> str:
    """Return the kept data, with three books, of a restore that restored two hundred."""
    site.create()
    site.sql("DELETE FROM book WHERE id > 3")
    old_data = restore_backup().old_data
    assert site.sql("SELECT count(*) FROM book") == [(200,)]
    assert old_data
    return old_data


def test_an_undo_can_be_undone(site: Site, restored: str) -> None:
    report = undo_restore("default", restored)
    assert site.sql("SELECT count(*) FROM book") == [(3,)]
    assert report.old_data
    assert report.old_data != restored
    undo_restore("default", report.old_data)
    assert site.sql("SELECT count(*) FROM book") == [(200,)]


def test_undo_by_the_command_needs_a_confirmation(site: Site, restored: str) -> None:
    refused = site.call("backup_restore", "--undo", restored)
    assert refused.code == 1
    assert f"Replace the database 'default' with {restored}?" in refused.stderr
    answer = site.call("backup_restore", "--undo", restored, "--yes")
    assert (answer.code, site.sql("SELECT count(*) FROM book")) == (0, [(3,)]), answer.stderr
    assert "default is again as it was before the restore." in answer.stdout
    assert Run.objects.filter(kind="restore", message=f"Undone: {restored} is the database again.").exists()


@pytest.mark.parametrize(
    "option", ["default_2025", "--sanitize=scrub.sql", "--unsanitized", "--from=main", "--tables=book", "--in-place"]
)
def test_what_is_about_a_backup_is_refused_and_not_ignored(site: Site, restored: str, option: str) -> None:
    """Old data may hold what its sanitizer has removed since."""
    answer = site.call("backup_restore", option, "--undo", restored, "--yes")
    assert (answer.code, "is about a backup to restore: leave it out" in answer.stderr) == (2, True), answer.stderr
    assert site.sql("SELECT count(*) FROM book") == [(200,)]


def test_in_a_transaction_it_is_refused(site: Site, restored: str) -> None:
    with transaction.atomic(), pytest.raises(RestoreRefused, match="in a transaction of the database 'default'"):
        undo_restore("default", restored)
    assert site.sql("SELECT count(*) FROM book") == [(200,)]


def test_a_file_that_is_no_kept_data_is_refused(site: Site, restored: str) -> None:
    other = site.root / "other.sqlite3"
    other.write_bytes(site.database.read_bytes())
    answer = site.call("backup_restore", "--undo", str(other), "--yes")
    assert answer.code == 2
    assert f"What is kept of it: {restored}." in answer.stderr


def test_damaged_kept_data_changes_nothing(site: Site, restored: str) -> None:
    Path(restored).write_bytes(b"no database" * 1000)
    before = site.content()
    answer = site.call("backup_restore", "--undo", restored, "--yes")
    assert answer.code == 1
    assert "The database 'default' is as it was." in answer.stderr
    assert site.content() == before


def test_an_undo_during_another_write_changes_nothing(
    site: Site, restored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_cfg.backup.engines.sqlite.connection.LOCK_TIMEOUT", 0.2)
    engine = "django.db.backends.sqlite3"
    site.use_databases(default={"ENGINE": engine, "NAME": str(site.database), "OPTIONS": {"timeout": 0.1}})
    writer = sqlite3.connect(site.database, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        answer = site.call("backup_restore", "--undo", restored, "--yes")
    finally:
        writer.close()
    assert answer.code == 1
    assert "nothing was changed" in answer.stderr
