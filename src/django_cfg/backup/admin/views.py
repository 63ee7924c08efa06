"""The views behind the addresses of the pages. A page's module is imported when it is first asked for: Django imports
the admin at every start, also of a command that shows no page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils.module_loading import import_string

from django_cfg.backup.admin.base import guarded

View = Callable[..., HttpResponseBase]


def page_view(name: str, site: AdminSite) -> View:
    """Return the view *name* (``module.function`` of this package) for users of *site*."""

    def on_site(request: HttpRequest, **options: Any) -> HttpResponseBase:
        return guarded(_find(name), site, request, **options)

    return site.admin_view(on_site)


def job_view(name: str, site: AdminSite) -> View:
    """Return the view *name* of a job, for users who may do such a job, and for the browser that has started it: also
    while the database of users is being restored."""

    def for_users(request: HttpRequest, number: str) -> HttpResponseBase:
        from django_cfg.backup.admin.job_page import answer

        return answer(_find(name), request, number, site)

    checked = site.admin_view(for_users)

    @login_not_required
    def for_anyone(request: HttpRequest, number: str) -> HttpResponseBase:
        from django_cfg.backup.admin.job_page import answer, is_owner

        return answer(_find(name), request, number, None) if is_owner(request, number) else checked(request, number)

    for alias in connections:  # without a name, it would be for the default database alone
        for_anyone = transaction.non_atomic_requests(using=alias)(for_anyone)
    return for_anyone


def _find(name: str) -> View:
    found: View = import_string(f"{__package__}.{name}")
    return found
