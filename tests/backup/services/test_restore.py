"""What a restore reports: its history, its signals and its duration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.dispatch import Signal

from django_cfg.backup import restore_backup
from django_cfg.backup.errors import UsageError, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.services.restore.resume import resume_restore
from django_cfg.backup.signals import restore_checked, restore_failed, restore_succeeded
from tests.support.django_project import Site

RUNS = "django_cfg_backup_run"


@pytest.fixture
def backup(site: Site, books: Path) -> Manifest:
    """A backup with all 200 books, of which the database has lost half since."""
    manifest = site.create()
    site.sql("DELETE FROM book WHERE id > 100")
    return manifest


def test_restore_to_another_database_checks_the_conditions_of_the_source(site: Site, shop: Manifest) -> None:
    """A rehearsal accepts what a restore and a drill accept."""
    databases = [
        {"alias": "shop", "verification_queries": ["SELECT count(*) > 1000 FROM book"]},
        {"alias": "default", "verification_queries": ["SELECT 0"]},
    ]
    site.configure(databases=databases)
    with pytest.raises(VerificationFailed, match="> 1000 FROM book"):
        restore_backup(shop.name, to="default")
    site.configure(databases=databases[1:])
    restore_backup(shop.name, to="default")


@contextmanager
def received(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    seen: list[dict[str, Any]] = []

    def hear(**facts: Any) -> None:
        seen.append(facts)

    signal.connect(hear)
    try:
        yield seen
    finally:
        signal.disconnect(hear)


def change_row_count(site: Site, manifest: Manifest) -> None:
    path = site.backups / manifest.key
    path.write_text(path.read_text().replace('"rows": 200', '"rows": 201'))


def test_a_restore_is_recorded_in_the_restored_database(site: Site, backup: Manifest) -> None:
    """The old history is part of the kept data; the row is written into the new database."""
    old_data = restore_backup().old_data
    (run,) = Run.objects.filter(kind="restore")
    assert (run.project, run.env, run.database) == ("tests", "test", "default")
    assert (run.state, run.name, run.old_data, run.message) == ("succeeded", backup.name, old_data, "")
    assert run.finished_at
    assert run.finished_at > run.started_at
    assert str(run) == f"restore of {backup.name} (succeeded)"


def test_the_target_is_not_written_to_before_the_switch(site: Site, backup: Manifest) -> None:
    change_row_count(site, backup)
    before = site.sql("SELECT * FROM book")
    with pytest.raises(VerificationFailed):
        restore_backup()
    assert site.sql("SELECT * FROM book") == before
    (run,) = Run.objects.filter(kind="restore")
    assert run.state == "failed"
    assert "201" in run.message


def test_a_history_in_another_database_shows_a_running_restore(site: Site, shop: Manifest) -> None:
    """So a killed restore is recorded too."""
    states: list[str] = []

    def look(**facts: Any) -> None:
        states.append(site.sql(f"SELECT state FROM {RUNS} WHERE kind = 'restore'")[0][0])

    restore_checked.connect(look)
    try:
        restore_backup(tables=["book"], to="shop", database="shop")
    finally:
        restore_checked.disconnect(look)
    assert states == ["running"]
    assert site.sql(f"SELECT state, database, tables FROM {RUNS} WHERE kind = 'restore'") == [
        ("succeeded", "shop", "book")
    ]


def test_success_is_sent_with_plain_data(site: Site, backup: Manifest) -> None:
    with received(restore_succeeded) as seen:
        old_data = restore_backup().old_data
    (facts,) = seen
    assert (facts["manifest"], facts["database"], facts["old_data"]) == (backup, "default", old_data)
    assert 0 < facts["seconds"] < 60


def test_failure_is_sent_with_its_reason(site: Site, backup: Manifest) -> None:
    change_row_count(site, backup)
    with received(restore_failed) as seen, received(restore_succeeded) as never, pytest.raises(VerificationFailed):
        restore_backup()
    (facts,) = seen
    assert facts["database"] == "default"
    assert "book has 200 rows instead of 201" in facts["message"]
    assert never == []


def test_a_failure_after_the_switch_is_still_a_success(
    site: Site, backup: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example a signal, or a history that cannot be reconciled."""

    def explode(manifests: list[Manifest]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("django_cfg.backup.services.runs.history_database.reconcile", explode)
    with received(restore_succeeded) as seen, pytest.raises(KeyboardInterrupt):
        restore_backup()
    assert len(seen) == 1
    assert site.sql("SELECT count(*) FROM book") == [(200,)]
    assert [run.state for run in Run.objects.filter(kind="restore")] == ["succeeded"]


def test_a_failing_history_never_fails_a_restore(site: Site, books: Path, caplog: pytest.LogCaptureFixture) -> None:
    site.sql(f"DROP TABLE {RUNS}")
    site.create()
    site.sql("DELETE FROM book")
    restore_backup()
    assert site.sql("SELECT count(*) FROM book") == [(200,)]
    assert "Could not write the history" in caplog.text


class TestResume:
    def test_an_atomic_switch_leaves_nothing_to_resume(self, site: Site, backup: Manifest) -> None:
        with pytest.raises(UsageError, match="nothing to resume: the database is completely as it was"):
            resume_restore()
        answer = site.call("backup_restore", "--resume", "--json")
        assert answer.code == 2
        assert "nothing to resume" in answer.json["error"]

    def test_resume_needs_an_alias_with_several_databases(self, site: Site, shop: Manifest) -> None:
        with pytest.raises(UsageError, match=r"several databases \(default, shop\)"):
            resume_restore()
        with pytest.raises(UsageError, match="the database 'shop'"):
            resume_restore("shop")


class TestCommand:
    def test_the_plan_is_shown_before_the_question(self, site: Site, backup: Manifest) -> None:
        """Archive, versions, space, what happens to the old data, then the question."""
        answer = site.call("backup_restore")
        assert answer.code == 1
        lines = answer.stderr.splitlines()
        assert lines[2].startswith("Archive  ")
        assert "checked while it is loaded, before anything is replaced" in lines[2]
        assert any("SQLite 3." in line for line in lines)
        assert any("are needed in" in line for line in lines)
        assert "Old data is kept" in lines
        assert "Replace the database 'default' with it?" in lines[-1]

    def test_the_duration_is_printed(self, site: Site, backup: Manifest) -> None:
        assert re.search(r"rows\. It took (less than )?0\.\d s\.", site.call("backup_restore", "--yes").stdout)

    def test_some_tables(self, site: Site, backup: Manifest) -> None:
        site.sql("INSERT INTO author VALUES (999, 'since')")
        answer = site.call("backup_restore", backup.name, "--yes", "--tables", "book", "auth*", "--discard-old")
        assert answer.code == 0, answer.stderr
        assert "only auth_group, " in answer.stderr
        assert f"book, auth* of default are now as in {backup.name}." in answer.stdout
        assert site.sql("SELECT count(*) FROM book") == [(200,)]
        assert site.sql("SELECT count(*) FROM author") == [(50,)]

    def test_discard_old(self, site: Site, backup: Manifest) -> None:
        answer = site.call("backup_restore", "--yes", "--discard-old")
        assert "Old data is not kept (--discard-old)" in answer.stderr
        assert "old data is kept" not in answer.stdout
        assert list(site.root.glob("*before-restore*")) == []

    def test_a_failed_verification_query_is_a_one_paragraph_error(self, site: Site, backup: Manifest) -> None:
        queries = ["SELECT count(*) > 100 FROM book WHERE title = 'none'"]
        site.configure(databases=[{"alias": "default", "verification_queries": queries}])
        answer = site.call("backup_restore", "--yes")
        assert answer.code == 1
        assert f"The verification query {queries[0]!r} gives 0 on the restored data" in answer.stderr
        assert site.sql("SELECT count(*) FROM book") == [(100,)]


def test_latest_is_never_a_backup_made_before_a_restore(site: Site, backup: Manifest) -> None:
    """Unless there is no other backup."""
    site.sql("DELETE FROM book")
    safety = site.create(trigger="before-restore")
    restore_backup()
    assert site.sql("SELECT count(*) FROM book") == [(200,)]
    site.call("backup_delete", backup.name, "--yes", "--force")
    assert site.call("backup_show", "latest", "--json").json["name"] == safety.name
