"""What every page shares: the base class of the project's admin, its frame, what happens when it cannot be shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.apps import apps
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.module_loading import import_string

from django_cfg.backup.admin.access import permissions_of
from django_cfg.backup.errors import BackupError, BackupNotFound
from django_cfg.backup.models import Run

if TYPE_CHECKING:
    from django_cfg.backup.services.project.project import Project

if TYPE_CHECKING or not apps.is_installed("unfold"):
    BaseAdmin = admin.ModelAdmin
else:
    BaseAdmin = import_string("unfold.admin.ModelAdmin")


def address(site_name: str, page: str, /, *arguments: object, **query: str) -> str:
    """Return the address of a page of the admin *site_name*, by the last part of the page's name."""
    found = reverse(f"admin:django_cfg_backup_{page}", args=arguments, current_app=site_name)
    return f"{found}?{urlencode(query)}" if query else found


def url(request: HttpRequest, page: str, /, *arguments: object, **query: str) -> str:
    """Return the address of a page of the admin that *request* is for: a project may have several."""
    match = request.resolver_match
    return address(match.namespace if match else "admin", page, *arguments, **query)


def shared_context(site: admin.AdminSite, request: HttpRequest, title: str) -> dict[str, Any]:
    """Return what the frame of every page shows."""
    return {
        **site.each_context(request),
        "title": title,
        "opts": Run._meta,
        "is_unfold": apps.is_installed("unfold"),  # its frame shows no title
        "may": permissions_of(request),
        "tabs": _tabs(request),
        "project": _project(),
    }


def render(
    site: admin.AdminSite, request: HttpRequest, template: str, title: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """Render a page within the admin's own frame."""
    context = {**shared_context(site, request, title), **context}
    return TemplateResponse(request, f"django_cfg_backup/{template}.html", context, status=status)


def guarded(
    view: Callable[..., HttpResponseBase], site: admin.AdminSite, request: HttpRequest, **options: Any
) -> HttpResponseBase:
    """Call *view* with the project read once; settings that cannot be used are a page, and not an error 500."""
    from django_cfg.backup.services.project.project import operation

    try:
        with operation():
            return view(site, request, **options)
    except BackupError as error:
        status = 404 if isinstance(error, BackupNotFound) else 409
        return render(site, request, "message", "Backups", {"text": str(error)}, status=status)


def redirect(request: HttpRequest, page: str, /, *arguments: object, **query: str) -> HttpResponse:
    return HttpResponseRedirect(url(request, page, *arguments, **query))


def refuse(request: HttpRequest, error: BackupError) -> None:
    """Show why something was not done, with the next page; names keep their case behind the first words."""
    messages.error(request, f"Not done: {error}")


def _project() -> Project | None:
    from django_cfg.backup.services.project.project import current_project

    try:
        return current_project()
    except BackupError:
        return None


def _tabs(request: HttpRequest) -> list[tuple[str, str, bool]]:
    """The pages, each with its address, and whether it is the present one."""
    pages = {"overview": "Overview", "backups": "Backups", "runs": "Runs", "retention": "Retention"}
    permissions, project = permissions_of(request), _project()
    if permissions["create"]:
        pages["check"] = "Check"
    if project and project.allows_web_restore and permissions["restore"]:
        pages["restore"] = "Restore"
    found = [(label, url(request, name)) for name, label in pages.items()]
    return [(label, path, request.path == path) for label, path in found]
