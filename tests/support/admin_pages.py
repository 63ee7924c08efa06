"""Django's admin inside the process of the tests, its users, and requests to the pages of the backups."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.signals import setting_changed
from django.test import Client
from django.urls import reverse

from tests.support.admin_settings import ADMIN_SETTINGS
from tests.support.django_project import Site

PASSWORD = "correct horse"
PERMISSIONS = (
    "view_backup", "create_backup", "verify_backup", "pin_backup",
    "delete_backup", "download_backup", "restore_backup", "prune_backups",
)  # fmt: skip


@contextmanager
def installed_admin(site: Site) -> Iterator[None]:
    """A block in which the project of *site* has Django's admin, and the tables of it."""
    site.set(**ADMIN_SETTINGS)
    apps.set_installed_apps(settings.INSTALLED_APPS)
    _forget()
    try:
        site.call("migrate", verbosity=0)
        yield
    finally:
        apps.unset_installed_apps()
        _forget()


def _forget() -> None:
    """Let Django forget what it keeps of the settings."""
    for name in ADMIN_SETTINGS:
        setting_changed.send(sender=Site, setting=name, value=None, enter=True)
    ContentType.objects.clear_cache()


def without_interpreter(patch: pytest.MonkeyPatch) -> None:
    """Let jobs wait for the next tick, as in a server that embeds Python: no process is started."""
    patch.setattr(sys, "executable", "")
    patch.setattr(sys, "prefix", "/no-such-environment")


def make_user(name: str, *codenames: str, is_staff: bool = True, is_superuser: bool = False) -> User:
    """A user with *codenames* of the permissions of backups."""
    user: User = User.objects.create_user(name, password=PASSWORD, is_staff=is_staff, is_superuser=is_superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def client_of(user: User | AnonymousUser | None, *, enforce_csrf: bool = False) -> Client:
    client = Client(enforce_csrf_checks=enforce_csrf)
    if user is not None and not user.is_anonymous:
        client.force_login(user)
    return client


def address(name: str, *arguments: object) -> str:
    """Return the address of a page, by the last part of its name."""
    return reverse(f"admin:django_cfg_backup_{name}", args=arguments)


def messages_of(response: Any) -> list[str]:
    """Return what a page shows of what was done, or was not."""
    found = re.search(r'<ul class="messagelist">(.*?)</ul>', response.text, re.DOTALL)
    assert found, response.text
    return [html.unescape(text.strip()) for text in re.findall(r"<li[^>]*>(.*?)</li>", found[1], re.DOTALL)]


def log_entries() -> list[tuple[str, str, str]]:
    """Return who did what to what by the admin's own log, the oldest first."""
    from django.contrib.admin.models import LogEntry  # only while the app is installed

    rows = LogEntry.objects.order_by("pk").values_list("user__username", "object_id", "change_message")
    return [(str(user), str(subject), str(message)) for user, subject, message in rows]
