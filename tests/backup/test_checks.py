"""The system checks: what they say, by their ids, and that they touch nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.checks import CheckMessage, Error, Warning, run_checks  # noqa: A004 (Django's name)
from django.core.management import call_command

from django_cfg import checks as app_check
from django_cfg.backup.checks import check_backup
from tests.support.django_project import Site

SQLITE = "django.db.backends.sqlite3"
TOUCHING = ("sqlite3.connect", "socket.connect", "subprocess.Popen", "os.posix_spawn", "os.fork", "os.mkdir")
_touched: list[str] | None = None


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    if _touched is not None and event in TOUCHING:
        _touched.append(event)


sys.addaudithook(_notice)  # for good: there is no way to remove one


@contextmanager
def touched() -> Iterator[list[str]]:
    """Collect what the block starts, opens and creates."""
    global _touched
    _touched = []
    try:
        yield _touched
    finally:
        _touched = None


def ids(messages: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("django_cfg_backup.") for message in messages]


def test_a_valid_configuration_has_no_messages(site: Site) -> None:
    assert check_backup() == []


def test_manage_py_check_runs_them(site: Site) -> None:
    """Without a tag and without a database being named."""
    site.set(BACKUP={"nosuch": 1})
    assert "E001" in ids(run_checks())
    with pytest.raises(Exception, match=r"django_cfg_backup\.E001"):
        call_command("check")


class TestQueueBackend:
    """E002: the chosen queue_backend cannot serve any run."""

    def test_the_backends_that_can_are_no_message(self, site: Site) -> None:
        site.set(RQ_QUEUES={"default": {}})
        for chosen in (None, "rq", "process", "celery"):
            site.configure(queue_backend=chosen)
            assert check_backup() == []

    def test_rq_without_queues(self, site: Site) -> None:
        site.configure(queue_backend="rq")
        (error,) = check_backup()
        assert (error.id, type(error)) == ("django_cfg_backup.E002", Error)
        assert "there are no RQ queues" in error.msg

    def test_celery_that_is_not_installed(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("django_cfg.backup.services.schedule.celery_queue.find_spec", lambda name: None)
        site.configure(queue_backend="celery")
        (error,) = check_backup()
        assert "install django-cfg-backup[celery]" in error.msg

    @pytest.mark.parametrize("name", ["immediate.ImmediateBackend", "dummy.DummyBackend"])
    def test_task_backends_without_workers_are_refused(self, site: Site, fresh_tasks: None, name: str) -> None:
        """Immediate is Django's default; what checks and tests run without backups is not blocked."""
        package = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
        site.set(TASKS={"default": {"BACKEND": f"{package}.backends.{name}"}})
        site.configure(queue_backend="tasks")
        (error,) = check_backup()
        assert error.id == "django_cfg_backup.E002"
        assert f"{name.partition('.')[2]}, which no worker serves" in error.msg
        site.configure(queue_backend="tasks", enabled=False)
        assert check_backup() == []

    def test_a_task_backend_that_cannot_be_imported(self, site: Site, fresh_tasks: None) -> None:
        site.set(TASKS={"default": {"BACKEND": "nosuch.Backend"}})
        site.configure(queue_backend="tasks")
        (error,) = check_backup()
        assert "the task backend cannot be used" in error.msg


class TestUnusable:
    """E001: an Error, since nothing works; an Error blocks ``migrate``, too."""

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (7, "settings.BACKUP is missing"),
            ({"compresion": "gzip"}, "did you mean compression?"),
            ({"storage": {"backend": "s3"}}, "s3_bucket"),
            ({"schedule": {"cron": "whenever"}}, "is not a cron expression"),
        ],
        ids=["no model", "misspelt", "incomplete", "cron"],
    )
    def test_a_value_that_cannot_be_used(self, site: Site, value: object, words: str) -> None:
        site.set(BACKUP=value)
        (error,) = check_backup()
        assert isinstance(error, Error)
        assert error.id == "django_cfg_backup.E001"
        assert words in error.msg

    def test_secrets_are_not_shown(self, site: Site) -> None:
        site.set(BACKUP={"encryption_key": ["hunter2"], "storage": {"s3_secret_key": ["hunter2"]}})
        (error,) = check_backup()
        assert "hunter2" not in str(error)

    def test_a_relative_path_without_a_base_folder(self, site: Site) -> None:
        site.set(BASE_DIR=None)
        assert ids(check_backup()) == ["E001"]

    @pytest.mark.parametrize("inside", ["", "backups", "deep/inside"])
    @pytest.mark.parametrize("name", ["MEDIA_ROOT", "STATIC_ROOT", "STATICFILES_DIRS"])
    def test_a_folder_that_web_servers_serve(self, site: Site, name: str, inside: str) -> None:
        """The folder itself and all below it."""
        served = site.root / "served"
        site.configure(storage={"local_path": str(served / inside)})
        site.set(**{name: [served] if name == "STATICFILES_DIRS" else str(served)})
        (error,) = check_backup()
        assert isinstance(error, Error)
        assert error.id == "django_cfg_backup.E001"
        assert f"lies inside {name} ({served})" in error.msg

    def test_a_static_folder_with_a_prefix(self, site: Site) -> None:
        site.set(STATICFILES_DIRS=[("downloads", str(site.root))])
        assert ids(check_backup()) == ["E001"]

    def test_a_symlink_into_a_served_folder(self, site: Site) -> None:
        """The target of the symlink counts."""
        (site.root / "media").mkdir()
        site.backups.symlink_to(site.root / "media")
        site.set(MEDIA_ROOT=site.root / "media")
        assert ids(check_backup()) == ["E001"]

    @pytest.mark.parametrize("media", ["", "media", "backups-of-media", "backups/media"])
    def test_a_folder_next_to_a_served_folder_is_accepted(self, site: Site, media: str) -> None:
        """Also with an unset MEDIA_ROOT, and one within the backups."""
        site.set(MEDIA_ROOT=str(site.root / media) if media else "", STATIC_ROOT=None)
        assert check_backup() == []


class TestWarnings:
    def test_a_missing_configuration(self, site: Site) -> None:
        """W002: installed, and nothing is backed up."""
        site.set(BACKUP=None)
        (warning,) = check_backup()
        assert isinstance(warning, Warning)
        assert warning.id == "django_cfg_backup.W002"
        assert "nothing is backed up" in warning.msg

    def test_an_unknown_alias(self, site: Site) -> None:
        """W003, with the known aliases; also for a disabled alias."""
        site.configure(databases=[{"alias": "defualt", "enabled": False}, {"alias": "default"}])
        (warning,) = check_backup()
        assert isinstance(warning, Warning)
        assert warning.id == "django_cfg_backup.W003"
        assert "'defualt'" in warning.msg
        assert warning.hint == "Its aliases are: default."

    def test_a_database_of_an_unsupported_vendor(self, site: Site) -> None:
        """W004, with the setting that leaves it out."""
        site.use_databases(
            default={"ENGINE": SQLITE, "NAME": str(site.database)},
            legacy={"ENGINE": "nosuch.backend", "NAME": "legacy"},
        )
        (warning,) = check_backup()
        assert isinstance(warning, Warning)
        assert warning.id == "django_cfg_backup.W004"
        assert "'legacy'" in warning.msg
        assert "BackupDatabaseConfig(alias='legacy', enabled=False)" in str(warning.hint)
        site.configure(databases=[{"alias": "legacy", "enabled": False}])
        assert check_backup() == []

    def test_a_database_in_memory(self, site: Site) -> None:
        """Its backup would fail every night."""
        site.use_databases(default={"ENGINE": SQLITE, "NAME": ":memory:"})
        assert ids(check_backup()) == ["W004"]

    def test_with_backups_switched_off_engines_are_not_checked(self, site: Site) -> None:
        site.use_databases(default={"ENGINE": "nosuch.backend", "NAME": "legacy"})
        site.configure(enabled=False)
        assert check_backup() == []


@pytest.mark.parametrize("good", [True, False])
def test_the_checks_touch_nothing(site: Site, good: bool) -> None:
    """No connection, no process, no folder; a missing database is not created."""
    missing: Path = site.root / "missing.sqlite3"
    site.use_databases(default={"ENGINE": SQLITE, "NAME": str(missing)})
    site.configure(databases=[] if good else [{"alias": "nosuch"}])
    with touched() as events:
        assert ids(check_backup()) == ([] if good else ["W003"])
    assert events == []
    assert not missing.exists()
    assert not site.backups.exists()


def test_an_access_would_be_detected(site: Site) -> None:
    """The test above can fail."""
    with touched() as events:
        site.sql("SELECT 1")
    assert events == ["sqlite3.connect"]


@pytest.mark.parametrize(
    ("backup", "expected"),
    [({"enabled": True}, ["django_cfg_backup.W001"]), ({"enabled": False}, []), ({"nosuch": 1}, []), (None, [])],
)
def test_a_configuration_without_the_backup_app(
    site: Site, monkeypatch: pytest.MonkeyPatch, backup: object, expected: list[str]
) -> None:
    """The check works without the app being installed, whatever the settings contain."""
    site.set(BACKUP=backup)
    assert app_check.check_app_is_installed(None) == []
    monkeypatch.setattr(app_check.apps, "is_installed", lambda name: False)
    assert [message.id for message in app_check.check_app_is_installed(None)] == expected
