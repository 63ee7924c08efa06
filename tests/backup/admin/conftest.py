"""A project with Django's admin and two backups; and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from django_cfg.backup.manifest import Manifest
from tests.support.admin_pages import installed_admin, without_interpreter
from tests.support.browser import running_chromium
from tests.support.django_project import Site


@pytest.fixture
def admin(site: Site, books: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The project of *site* with Django's admin; jobs wait for the next tick."""
    without_interpreter(monkeypatch)
    site.configure(retention={"enabled": False})
    with installed_admin(site):
        yield site


@pytest.fixture
def made(admin: Site) -> list[Manifest]:
    """Two backups, the older one first."""
    return [admin.create(), admin.create()]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of a module. They do not use the database themselves: Playwright runs an event loop."""
    with running_chromium() as browser:
        yield browser
