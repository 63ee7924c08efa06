"""The pages in projects of many kinds: time zones and languages, transactions, sites, static files, settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import django_cfg.backup
from tests.support.admin_variants import AdminProject, visit

PACKAGE = Path(django_cfg.backup.__file__).parent
STATIC, TEMPLATES = PACKAGE / "static/django_cfg_backup", PACKAGE / "templates/django_cfg_backup"
Found = dict[str, dict[str, tuple[int, str]]]
OWN_SITE = """\
from django.contrib.admin import AdminSite
from django.urls import path

from django_cfg.backup.admin.runs import RunAdmin
from django_cfg.backup.models import Run

site = AdminSite(name="control")
site.register(Run, RunAdmin)
urlpatterns = [path("control/", site.urls)]
"""
BOTH_SITES = (
    OWN_SITE
    + """
from django.contrib import admin

urlpatterns += [path("admin/", admin.site.urls)]
"""
)
PRODUCTION = """
from django_cfg import DjangoConfig

class ShopConfig(DjangoConfig):
    project_name: str = "shop"
    secret_key: str = "s" * 60
    security_domains: list[str] = ["localhost"]
    backup: BackupConfig = BackupConfig(enabled=True)

globals().update(ShopConfig().get_all_settings())
ROOT_URLCONF = "urls"
"""
PROJECTS = {
    "plain": AdminProject(),
    "without the admin": AdminProject(
        "INSTALLED_APPS = [app for app in INSTALLED_APPS if app != 'django.contrib.admin']\n", urls="urlpatterns = []\n"
    ),
    "German, no time zones, transactions": AdminProject(
        "LANGUAGE_CODE, USE_THOUSAND_SEPARATOR, USE_TZ = 'de', True, False\n"
        "DATABASES['default']['ATOMIC_REQUESTS'] = True\n"
        "MIDDLEWARE = [*MIDDLEWARE, 'django.middleware.locale.LocaleMiddleware']\n"
    ),
    "a site of its own, login required": AdminProject(
        "SITE_NAME = 'control'\nMIDDLEWARE = [*MIDDLEWARE, 'django.contrib.auth.middleware.LoginRequiredMiddleware']\n",
        urls=OWN_SITE,
    ),
    "two sites": AdminProject("SITE_NAME = 'control'\n", urls=BOTH_SITES),
    "unfold, hashed static files": AdminProject(
        "INSTALLED_APPS = ['unfold', *INSTALLED_APPS]\n"
        "STORAGES = {'staticfiles': {'BACKEND': 'django.contrib.staticfiles.storage.ManifestStaticFilesStorage'}}\n"
        "FIRST = [('collectstatic', '--noinput')]\n"
    ),
    "production": AdminProject(PRODUCTION, env=(("ENV_MODE", "production"),)),
}
PAGES = (
    "index", "overview", "backups", "backup", "runs", "check", "retention", "restore", "pick", "undo", "download",
    "run_change", "run_history", "run_state", "job",
)  # fmt: skip


@pytest.fixture(scope="module")
def visited_projects(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return visit(tmp_path_factory.mktemp("projects"), PROJECTS)


@pytest.mark.parametrize("name", [name for name in PROJECTS if name != "without the admin"])
def test_every_page_answers(visited_projects: Found, name: str) -> None:
    closed = {"restore", "pick", "undo", "download"} if name == "production" else set()
    statuses = {page: status for page, (status, _) in visited_projects[name].items()}
    expected = {page: 404 if page in closed else 200 for page in PAGES}
    assert "error" not in statuses, visited_projects[name]["error"][1]
    assert statuses == {**expected, "delete": 404, "anonymous": 302, "owner": 200, "class": 200}


def test_the_list_of_runs_has_the_class_of_the_admin_that_is_installed(visited_projects: Found) -> None:
    assert visited_projects["plain"]["class"][1] == "django.contrib.admin.options"
    assert visited_projects["unfold, hashed static files"]["class"][1] == "unfold.admin"


def test_a_project_without_the_admin_works(visited_projects: Found) -> None:
    assert visited_projects["without the admin"] == {}


def attributes(text: str, *wanted: str) -> Iterator[tuple[str, str, str]]:
    """Yield the tag, the name and the value of each of the *wanted* attributes of a page."""
    found: list[tuple[str, str, str]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend((tag, name, value or "") for name, value in attrs if not wanted or name in wanted)

    Tags().feed(text)
    return iter(found)


def test_numbers_for_machines_are_not_localized(visited_projects: Found) -> None:
    """In German a point is a comma, and thousands have points."""
    pages = visited_projects["German, no time zones, transactions"]
    shapes = attributes(pages["overview"][1], "x", "y", "width", "height", "cx", "cy", "r")
    drawn = [value for tag, _, value in shapes if tag in ("rect", "circle")]
    assert len(drawn) > 1000
    assert [value for value in drawn if not re.fullmatch(r"\d+(\.\d+)?", value)] == []
    assert 'name="run" value="1234567"' in pages["run_change"][1]
    assert "max_total_size_mb=123456)" in pages["retention"][1]


@pytest.mark.parametrize("name", ["a site of its own, login required", "two sites"])
def test_links_stay_within_the_site(visited_projects: Found, name: str) -> None:
    links = [value for _, text in visited_projects[name].values() for _, _, value in attributes(text, "href", "action")]
    own = [link for link in links if link.startswith("/") and not link.startswith("/static/")]
    assert len(own) > 100
    assert {link for link in own if not link.startswith("/control/")} == {"/"}  # the admin's "View site"


def test_no_page_has_an_inline_script_or_style(visited_projects: Found) -> None:
    """So they work with a Content-Security-Policy that forbids both."""
    for page, (_, text) in visited_projects["plain"].items():
        bad = [found for found in attributes(text) if found[1] == "style" or found[1].startswith("on")]
        bad += [found for found in attributes(text, "href", "src") if found[2].startswith(("javascript:", "data:"))]
        assert bad == [], page
        assert re.findall(r"<style|<script(?![^>]*(?: src=|application/json))", text) == [], page


def test_production_has_no_restore_and_no_download_until_they_are_switched_on(visited_projects: Found) -> None:
    links = [
        value
        for _, text in visited_projects["production"].values()
        for _, _, value in attributes(text, "href", "action")
    ]
    assert any("/run/backup/" in link for link in links)
    assert [link for link in links if "/run/restore/" in link or "/run/download/" in link] == []


def test_the_script_is_short() -> None:
    script = STATIC / "backup.js"
    assert len(script.read_text().splitlines()) < 100


def test_no_template_has_an_inline_script_or_style() -> None:
    templates = list(TEMPLATES.glob("*.html"))
    assert len(templates) > 15
    inline = re.compile(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]* src=)")
    assert [path.name for path in templates if inline.search(path.read_text())] == []
