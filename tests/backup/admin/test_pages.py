"""What the pages say in particular states of a backup, a run or a job."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from django_cfg.backup.errors import StorageError
from django_cfg.backup.manifest import Encryption, Manifest, Source, proof_key
from django_cfg.backup.models import Run
from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.job import Job, JobPhase, JobState
from django_cfg.backup.services.monitoring.snapshot import read_backups
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.restore import RestorePlan, RestoreRequest, preview_restore
from django_cfg.backup.services.retention.pins import pin_backup
from django_cfg.backup.storage.local import LocalStorage
from tests.support.admin_pages import address, client_of, log_entries, make_user, messages_of
from tests.support.backup_status import prove
from tests.support.django_project import Site
from tests.support.manifests import make_manifest
from tests.support.stored_history import ONE_DAY, daily, put

SCRUB = "tests.support.sanitizers.scrub"
Read = Callable[..., str]


@pytest.fixture
def ada(admin: Site) -> Any:
    """The browser of a superuser."""
    return client_of(make_user("ada", is_superuser=True))


@pytest.fixture
def read(ada: Any) -> Read:
    """The text of a page, by the name of its address."""

    def get(page: str, /, *arguments: object, status: int = 200, **query: str) -> str:
        answer = ada.get(address(page, *arguments), query)
        assert answer.status_code == status
        return html.unescape(answer.text)

    return get


def make_run(**values: Any) -> Run:
    return Run.objects.create(**current_project().source("default").model_dump(), **values)


def test_a_restore_into_a_new_database(read: Read, admin: Site, made: list[Manifest]) -> None:
    admin.set(ENV_MODE="staging")
    admin.configure(sanitizers={"copy": SCRUB}, web_restore=True)
    new = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(admin.root / "copy.sqlite3")}
    admin.use_databases(**settings.DATABASES, copy=new)
    page = read("restore", backup=made[0].name, to="copy")
    for sentence in (
        "There is no present data: the database is new.",
        "It is a backup of tests/test/default, and not of tests/staging/copy.",
        "No drill has proved this backup.",
        "How long it takes is not known, since it was never drilled.",
    ):
        assert sentence in page
    assert "The users and sessions of this site" not in page, "they are in another database"
    assert not (admin.root / "copy.sqlite3").exists(), "looking changes nothing"


def test_a_restore_of_production_is_sanitised(read: Read, admin: Site) -> None:
    admin.set(ENV_MODE="production")
    name = admin.create().name
    admin.set(ENV_MODE="staging")
    admin.configure(sanitizers={"default": SCRUB}, web_restore=True)
    page = read("restore", backup=name, to="default")
    assert f"It is sanitised by {SCRUB} before it replaces anything." in page


def test_a_restore_of_a_backup_that_was_drilled(read: Read, admin: Site, made: list[Manifest]) -> None:
    prove(admin, made[1], succeeded=True)
    page = read("restore", backup=made[1].name)
    assert "It takes about 1 s, as its last drill did." in page
    assert "No drill has proved this backup." not in page


def test_a_restore_of_migrations_that_the_code_has_not(read: Read, admin: Site) -> None:
    admin.sql("INSERT INTO django_migrations (app, name, applied) VALUES ('auth', '0999_later', '2026-01-01')")
    assert "auth.0999_later" in read("restore", backup=admin.create().name)


def test_a_restore_without_a_scratch(admin: Site, made: list[Manifest]) -> None:
    """Servers whose user may make no database."""
    from django_cfg.backup.admin.backups import find_row  # only while the admin is installed
    from django_cfg.backup.admin.restore import describe

    plan = preview_restore(RestoreRequest(made[0].name, to="default"))
    plan = replace(plan, preflight=replace(plan.preflight, uses_staging=False, keeps_old_data=False))
    row, project = find_row(read_backups(), made[0].name), current_project()

    def said(plan: RestorePlan) -> str:
        return " ".join(sentence.text for sentence in describe(plan, row, project))

    assert "It is loaded into the database itself, so the site should be stopped" in said(plan)
    assert "There is no old data." in said(plan)
    assert "The present data is backed up first." in said(replace(plan, backs_up_first=True))


def test_a_moment_that_is_none_is_not_looked_for(read: Read, made: list[Manifest]) -> None:
    page = read("restore", at="yesterday")
    assert all(manifest.name in page for manifest in made)


@pytest.mark.parametrize(
    ("encryption", "said"),
    [
        ({"method": "passphrase"}, "anyone who has the passphrase; this machine has the one of its settings"),
        (
            {"method": "public-key", "recipients": ("ops@example.org",)},
            "who has the private key of ops@example.org; this machine cannot",
        ),
    ],
)
def test_who_can_decrypt(read: Read, server_home: Any, encryption: dict[str, Any], said: str) -> None:
    put(make_manifest("default_1", encryption=Encryption(**encryption)))
    assert said in read("overview")


def test_the_overview_has_the_next_backup_and_the_recovery_time(read: Read, admin: Site, made: list[Manifest]) -> None:
    prove(admin, made[1], succeeded=True)
    admin.configure(
        schedule={"enabled": False}, databases=[{"alias": "default", "schedule_override": {"interval_hours": 168}}]
    )
    page = read("overview")
    assert "expected recovery time 1 s" in page
    assert re.search(r"in [67] days", page)
    admin.configure(schedule={"enabled": False})
    assert "by hand: no schedule backs it up" in read("overview")


def test_a_backup_that_goes_next(read: Read, admin: Site) -> None:
    put(*daily(3))
    admin.configure(retention=ONE_DAY)
    assert "goes with the next prune: " in read("backup", name="default_3")
    assert "goes with the next prune: " not in read("backup", name="default_1")


def test_other_numbers_of_the_retention(read: Read, admin: Site) -> None:
    put(*daily(3))
    admin.configure(retention=ONE_DAY)
    more = read("retention", keep_daily="2", keep_weekly="0", keep_monthly="0")
    assert (more.count(">would stay"), more.count(">would go")) == (1, 0)
    admin.configure(retention={**ONE_DAY, "keep_daily": 3})
    less = read("retention", keep_daily="1", keep_weekly="0", keep_monthly="0")
    assert (less.count(">would stay"), less.count(">would go")) == (0, 2)


def test_a_clock_that_is_wrong(read: Read, admin: Site) -> None:
    """Nothing is decided then, and the pages say so."""
    future = clock.now() + timedelta(days=365 * 60)
    put(make_manifest("default_1", started_at=future, finished_at=future), *daily(1, database="other"))
    assert "unknown: a clock is wrong" in read("backup", name="default_1")
    assert "default_1 of tests/test/default is dated" in read("retention")
    assert "default_1 of tests/test/default is dated" in read("retention", keep_daily="1", keep_weekly="0")


def test_the_retention_of_a_place_that_is_away(read: Read, admin: Site) -> None:
    admin.configure(copies=[{"name": "offsite", "storage": {"local_path": str(admin.root / "offsite")}}])
    admin.create()
    for path in admin.backups.iterdir():
        path.unlink()
    admin.backups.rmdir()
    admin.backups.write_text("no folder")
    assert str(admin.backups) in read("retention")
    assert "0 of 0" not in read("retention")


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_pin_that_cannot_be_read(
    read: Read, admin: Site, made: list[Manifest], monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    pin_backup(current_project(), made[0], "the audit")
    key = f"{made[0].name}.pin.json"
    (admin.backups / key).write_text("no JSON")
    if is_lost:
        monkeypatch.setattr(LocalStorage, "read", refusing(key))
    page = read("backup", name=made[0].name)
    assert "by ada" not in page
    assert made[0].archive.sha256 in page


def refusing(lost: str) -> Callable[[LocalStorage, str], bytes]:
    """A storage that has lost the content of one object."""
    read = LocalStorage.read

    def read_others(storage: LocalStorage, key: str) -> bytes:
        if key == lost:
            raise StorageError(f"Could not read {key}: Input/output error.")
        return read(storage, key)

    return read_others


def test_proofs_that_cannot_be_read_are_left_out(read: Read, admin: Site, made: list[Manifest]) -> None:
    for proof, content in zip([prove(admin, manifest, succeeded=True) for manifest in made], ["{}", ""], strict=True):
        assert proof.differences == ()
        (admin.backups / proof_key(proof.name, proof.at)).write_text(content)
        page = read("backup", name=proof.name)
        assert "Never proved" in page
        assert "Drill of" not in page


def test_a_run_that_waits_can_be_cancelled(ada: Any) -> None:
    run = make_run(state="queued", queued_at=clock.now())
    what = str(run)
    page = ada.post(address("cancel"), {"run": run.pk}, follow=True)
    assert messages_of(page) == [f"Cancelled: the {what} ends at its next step."]
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert log_entries() == [("ada", what, "Cancelled.")]


def test_what_cannot_be_started_is_said(ada: Any, admin: Site, made: list[Manifest]) -> None:
    """Nothing can be left to a tick without the history."""
    admin.sql("DROP TABLE django_cfg_backup_run")
    page = ada.post(address("create"), follow=True)
    assert "Not done: " in messages_of(page)[0]
    assert "leave the job to the next tick" in messages_of(page)[0]


def test_the_progress_of_a_run(read: Read, made: list[Manifest]) -> None:
    now = clock.now()
    begun = {"started_at": now - timedelta(seconds=10), "stage": "loading"}
    run = make_run(kind="restore", bytes_done=20_000_000, bytes_total=100_000_000, heartbeat_at=now, **begun)
    silent = make_run(kind="restore", bytes_done=30_000_000, **begun)
    page = read("runs")
    assert "loading (20.0 MB of about 100.0 MB, 2.0 MB/s)" in page
    assert "loading (30.0 MB)" in page
    assert "20.0 MB of about 100.0 MB" in read("run_change", run.pk)
    assert "30.0 MB" in read("run_state", silent.pk)
    read("run_state", 999_999, status=404)


def test_runs_know_whether_their_backup_is_still_there(read: Read, admin: Site, made: list[Manifest]) -> None:
    (admin.backups / made[0].key).unlink()
    page = read("runs")
    assert f"{made[0].name}, deleted since" in page
    assert f'name={made[1].name}">' in page


def test_a_filter_of_runs_that_is_none(ada: Any, made: list[Manifest]) -> None:
    """Django's admin sends the browser to the list of all."""
    answer = ada.get(address("runs"), {"nonsense": "1"}, follow=True)
    assert made[0].name in answer.text


@pytest.mark.parametrize("page", ["overview", "backups", "retention"])
def test_settings_that_cannot_be_used_are_a_page(read: Read, admin: Site, page: str) -> None:
    admin.set(BACKUP="nonsense")
    assert "settings.BACKUP" in read(page, status=409)


def test_the_runs_are_shown_with_settings_that_cannot_be_used(read: Read, admin: Site, made: list[Manifest]) -> None:
    admin.set(BACKUP="nonsense")
    page = read("runs")
    assert made[0].name in page
    assert "deleted since" not in page


def make_job(**values: Any) -> Job:
    """A job whose state has *values*; somebody else does it."""
    job = Job(action=values.pop("action", "backup"), by="ada", at=clock.now())
    FileBoard(job.id).write(JobState(job=job, seen_at=clock.now(), **values))
    return job


def test_a_job_says_how_long_it_still_takes(read: Read, temporary: Path) -> None:
    job = make_job(phase=JobPhase.RUNNING, done=20_000_000, total=80_000_000, rate=2_000_000)
    assert "20.0 MB of about 80.0 MB, 2.0 MB/s, about 30 s left" in read("job", job.id)


def test_a_restore_into_a_database_that_is_no_more_has_no_undo(read: Read, temporary: Path) -> None:
    result = {"old_data": "default_old", "to": "gone"}
    job = make_job(action="restore", phase=JobPhase.SUCCEEDED, result=result, message="gone is now as in x.")
    page = read("job", job.id)
    assert "gone is now as in x." in page
    assert "Undo this restore" not in page


def test_the_list_names_where_a_backup_is_from(read: Read) -> None:
    put(make_manifest("far_1", source=Source(project="far", env="test", database="far")))
    assert "far_1" in read("restore", all="on")
    assert "far_1" not in read("restore")


def test_the_retention_of_a_storage_that_is_away_by_other_numbers(read: Read, admin: Site) -> None:
    admin.backups.write_text("no folder")
    assert "would stay" not in read("retention", keep_daily="1", keep_weekly="0", keep_monthly="0")


def test_the_index_reads_the_storage_once_a_minute(ada: Any, made: list[Manifest]) -> None:
    first, second = ada.get("/admin/"), ada.get("/admin/")
    assert (first.status_code, second.status_code) == (200, 200)
    assert "never proved" in first.text
    assert "never proved" in second.text


def test_the_index_with_settings_that_cannot_be_used(ada: Any, admin: Site) -> None:
    """The other apps of the site are shown as ever."""
    admin.set(BACKUP="nonsense")
    answer = ada.get("/admin/")
    assert (answer.status_code, "Users" in answer.text) == (200, True)
