"""Every page for every role: who sees it, who may do it, and that a GET changes nothing."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.services.jobs.job import Job
from django_cfg.backup.services.jobs.launch import launch
from django_cfg.backup.services.project.project import current_project
from tests.support.admin_pages import PERMISSIONS, address, client_of, log_entries, make_user
from tests.support.django_project import Site

OWN_LINK = re.compile(r'href="(/admin/django_cfg_backup/[^"]*)"')
LOGIN, FORBIDDEN, NOT_FOUND, NOT_ALLOWED = 302, 403, 404, 405


@dataclass(frozen=True)
class Page:
    """What a page answers to users with the permission *codename*, to a GET and to a POST of its query."""

    codename: str
    get: int
    post: int
    query: str = ""
    refused: int = FORBIDDEN  # the answer to staff without the permission
    refused_to_others: int | None = None  # the answer to staff that may see nothing, where it is another

    def expected(self, role: str, method: str) -> int:
        answer = self.get if method == "get" else self.post
        if role in ("anonymous", "customer"):
            return LOGIN
        views = role.startswith("view+") or role == "superuser"
        if views and (role in (f"view+{self.codename}", "superuser") or self.codename == "view_backup"):
            return answer
        if views and method == "get" and self.get == NOT_ALLOWED and self.refused == NOT_FOUND:
            return NOT_ALLOWED
        return self.refused if views or self.refused_to_others is None else self.refused_to_others


PAGES = {
    "overview": Page("view_backup", 200, 200),
    "backups": Page("view_backup", 200, 200),
    "backup": Page("view_backup", 200, 404, "name"),  # its name is in the address
    "runs": Page("view_backup", 200, 200),
    "run_change": Page("view_backup", 200, 403),
    "run_history": Page("view_backup", 200, 200),
    "run_state": Page("view_backup", 200, 200),
    "run_add": Page("nothing", 403, 403),
    "run_delete": Page("nothing", 403, 403),
    "retention": Page("view_backup", 200, 200),
    "check": Page("create_backup", 200, 200),
    "test_notification": Page("create_backup", 405, 200),
    "create": Page("create_backup", 405, 302),
    "verify": Page("verify_backup", 405, 302, "name"),
    "drill": Page("verify_backup", 405, 302, "name"),
    "pin": Page("pin_backup", 405, 302, "name"),
    "unpin": Page("pin_backup", 405, 302, "name"),
    "delete": Page("delete_backup", 200, 302, "name"),  # without the name typed
    "download": Page("download_backup", 200, 302, "name"),  # without the password
    "restore": Page("restore_backup", 200, 302, "backup"),
    "undo": Page("restore_backup", 200, 302, "database"),
    "prune": Page("prune_backups", 405, 302),
    "cancel": Page("create_backup", 405, 302, "run", refused=NOT_FOUND, refused_to_others=FORBIDDEN),
    "cancel_job": Page("create_backup", 200, 302, refused=NOT_FOUND, refused_to_others=FORBIDDEN),
    "job": Page("create_backup", 200, 200, refused=NOT_FOUND),
    "job_state": Page("create_backup", 200, 200, refused=NOT_FOUND),
}


@dataclass(frozen=True)
class Scene:
    """A project with two backups, one run and one job that waits."""

    site: Site
    backups: list[Manifest]
    run: Run
    job: Job

    def path(self, name: str) -> str:
        arguments = {
            "run_change": self.run.pk, "run_history": self.run.pk, "run_state": self.run.pk, "run_delete": self.run.pk,
            "job": self.job.id, "job_state": self.job.id, "cancel_job": self.job.id,
        }  # fmt: skip
        return address(name, arguments[name]) if name in arguments else address(name)

    def query(self, name: str) -> dict[str, Any]:
        values = {"name": self.backups[0].name, "backup": self.backups[0].name, "database": "default"}
        return {key: {**values, "run": self.run.pk}[key] for key in PAGES[name].query.split()}

    def ask(self, client: Client, name: str, method: str) -> int:
        status: int = getattr(client, method)(self.path(name), self.query(name)).status_code
        return status

    def state(self) -> tuple[Any, ...]:
        """What a request could have changed."""
        return self.site.stored(), list(Run.objects.values_list().order_by("pk")), log_entries()


@pytest.fixture
def scene(admin: Site, made: list[Manifest]) -> Scene:
    job = Job(action="backup", by="root")
    launch(current_project(), job)
    return Scene(admin, made, Run.objects.filter(kind="backup", state="succeeded").latest("pk"), job)


def roles() -> dict[str, User | None]:
    """One user of each kind, by a name that says what they may."""
    return {
        "anonymous": None,
        "customer": make_user("customer", *PERMISSIONS, is_staff=False),
        "staff": make_user("staff"),
        **{f"view+{name}": make_user(f"may-{name}", "view_backup", name) for name in PERMISSIONS},
        **{f"only {name}": make_user(f"only-{name}", name) for name in PERMISSIONS if name != "view_backup"},
        "superuser": make_user("root", is_superuser=True),
    }


def test_each_page_answers_each_role_as_the_table_says(scene: Scene) -> None:
    found, expected = {}, {}
    for role, user in roles().items():
        client = client_of(user)
        for name, page in PAGES.items():
            for method in ("get", "post"):
                found[role, name, method] = scene.ask(client, name, method)
                expected[role, name, method] = page.expected(role, method)
    assert {case: status for case, status in found.items() if status != expected[case]} == {}
    assert len(found) == len(PAGES) * 2 * 19


def test_a_get_changes_nothing(scene: Scene) -> None:
    client = client_of(make_user("root", is_superuser=True))
    before = scene.state()
    for name in PAGES:
        scene.ask(client, name, "get")
    assert scene.state() == before


def test_a_post_without_the_token_is_refused(scene: Scene) -> None:
    client = client_of(make_user("root", is_superuser=True), enforce_csrf=True)
    before = scene.state()
    found = {name: scene.ask(client, name, "post") for name in PAGES}
    assert {name: status for name, status in found.items() if status != FORBIDDEN} == {}
    assert scene.state() == before


def test_only_superusers_may_do_anything_by_default(admin: Site) -> None:
    names = [f"django_cfg_backup.{name}" for name in PERMISSIONS]
    staff, root = make_user("staff"), make_user("root", is_superuser=True)
    assert [staff.has_perm(name) for name in names] == [False] * 8
    assert [root.has_perm(name) for name in names] == [True] * 8


def test_the_index_has_the_sentence_only_for_who_may_view(scene: Scene) -> None:
    sentence = "Backups</a>: Safe: the database default was backed up"
    assert sentence in client_of(make_user("viewer", "view_backup")).get("/admin/").text
    assert "Backups</a>" not in client_of(make_user("other")).get("/admin/").text


def test_no_page_offers_what_it_then_refuses(scene: Scene) -> None:
    """To users who may only look, and to users with one permission more."""
    refused: dict[str, list[str]] = {}
    for role, user in roles().items():
        client = client_of(user)
        pages = [
            client.get(scene.path(name), scene.query(name)) for name in ("overview", "backup", "runs", "run_change")
        ]
        if role.startswith("view+"):
            links = {html.unescape(link) for page in pages for link in OWN_LINK.findall(page.text)}
            assert len(links) > 5
            refused[role] = [link for link in sorted(links) if client.get(link).status_code == FORBIDDEN]
    assert {role: links for role, links in refused.items() if links} == {}
