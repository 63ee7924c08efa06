"""A project with the HTTP API and two backups; jobs wait for the next tick."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from django_cfg.backup import list_backups
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from tests.support.admin_pages import without_interpreter
from tests.support.api_client import Api
from tests.support.django_project import Site


@pytest.fixture
def api(site: Site, books: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    without_interpreter(monkeypatch)
    api = Api(site)
    api.configure()
    return api


@pytest.fixture(scope="session")
def made_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the backups that the first test makes and the others copy."""
    return tmp_path_factory.mktemp("made") / "backups"


@pytest.fixture
def made(api: Api, made_before: Path) -> list[Manifest]:
    """Two backups, the older one first."""
    if not made_before.exists():
        api.site.create()
        api.site.create()
        shutil.copytree(api.site.backups, made_before)
        Run.objects.all().delete()
    else:
        shutil.copytree(made_before, api.site.backups)
    return list_backups()[::-1]
