"""The check for django-health-check, asked through its view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import clear_url_caches, path
from health_check.views import HealthCheckView

from django_cfg.backup import create_backup
from django_cfg.backup.services.monitoring.metrics import forget_metrics
from tests.support.django_project import Site
from tests.support.stopped_clock import Clock

CHECK = "django_cfg.backup.health_check.BackupHealthCheck"
urlpatterns = [
    path("health/backups/", HealthCheckView.as_view(checks=[CHECK])),
    path("health/other/", HealthCheckView.as_view(checks=[(CHECK, {"database": "other"})])),
]


@pytest.fixture
def page(hourly: Site) -> Iterator[Site]:
    hourly.set(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"], MIDDLEWARE=[])
    clear_url_caches()
    forget_metrics()
    yield hourly
    forget_metrics()


def ask(address: str = "/health/backups/") -> tuple[int, str]:
    forget_metrics()
    answer: Any = Client().get(address, {"format": "json"})
    ((_, text),) = answer.json().items()
    return answer.status_code, text


def test_healthy_backups_pass(page: Site) -> None:
    create_backup()
    assert ask() == (200, "OK")


def test_an_overdue_backup_fails(page: Site, time: Clock) -> None:
    create_backup()
    time.advance(hours=3)
    status, text = ask()
    assert (status, text.split(". ")[0]) == (500, "Unavailable: default: overdue")


def test_a_damaged_backup_fails_without_its_details(page: Site) -> None:
    """The page of checks is often public."""
    (page.backups / create_backup().archive_key).unlink()
    create_backup()
    status, text = ask()
    assert (status, text.split(". ")[0]) == (500, "Unavailable: default: unhealthy")
    assert str(page.backups) not in text


def test_one_database(page: Site) -> None:
    assert ask("/health/other/") == (500, "Unavailable: No database 'other' is backed up.")
    page.use_databases(
        default={"ENGINE": "django.db.backends.sqlite3", "NAME": str(page.database)},
        other={"ENGINE": "django.db.backends.sqlite3", "NAME": str(page.root / "other.sqlite3")},
    )
    page.sql("CREATE TABLE shelf (id integer)", database=page.root / "other.sqlite3")
    create_backup("other")
    assert ask("/health/other/") == (200, "OK")
    assert ask()[0] == 500, "the other one was never backed up"


def test_a_storage_or_settings_that_cannot_be_used_fail(page: Site) -> None:
    page.configure(storage={"local_path": str(page.database)})
    assert "cannot be read" in ask()[1]
    page.set(BACKUP={"nosuch": 1})
    assert "settings.BACKUP cannot be used" in ask()[1]
