"""Who may do what: the permissions of the model Run, a password that is entered again, the admin's own log."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.contrib.admin import AdminSite
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseNotAllowed

from django_cfg.backup.errors import UsageError
from django_cfg.backup.models import Run

if TYPE_CHECKING:
    from django_cfg.backup.services.project.project import Project

View = Callable[..., HttpResponseBase]
CODENAMES = tuple(codename for codename, _ in Run._meta.permissions)
_OF_KIND: dict[str, str] = {
    Run.Kind.BACKUP: "create_backup",
    Run.Kind.VERIFICATION: "verify_backup",
    Run.Kind.RESTORE: "restore_backup",
    Run.Kind.PRUNE: "prune_backups",
}


def may(request: HttpRequest, codename: str) -> bool:
    """Return True if the user has the permission, and may look at the pages at all."""
    user: Any = request.user
    return all(user.has_perm(f"django_cfg_backup.{name}") for name in ("view_backup", codename))


def may_do(request: HttpRequest, kind: str) -> bool:
    """Return True if the user may start, follow and cancel runs of *kind*."""
    return may(request, _OF_KIND[kind])


def permissions_of(request: HttpRequest) -> dict[str, bool]:
    """Return for templates what the user may do, by the verb: ``create``, ``restore``."""
    return {codename.partition("_")[0]: may(request, codename) for codename in CODENAMES}


def requires(codename: str, *, only_post: bool = False) -> Callable[[View], View]:
    """A view for users that have the permission *codename*; *only_post*: one that changes something."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(site: AdminSite, request: HttpRequest, **options: Any) -> HttpResponseBase:
            if not may(request, codename):
                raise PermissionDenied
            if only_post and request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            return view(site, request, **options)

        return checked

    return decorate


def require_password(request: HttpRequest) -> None:
    """
    :raises UsageError: the form does not hold the password of the user.
    """
    user: Any = request.user
    if not user.has_usable_password():
        raise UsageError(
            "Your account has no password that could be entered again: use the command instead, or ask for an account "
            "that has one."
        )
    if not user.check_password(request.POST.get("password", "")):
        raise UsageError("The password is not yours.")


def require_typed(request: HttpRequest, expected: str) -> None:
    """
    :raises UsageError: the form does not hold the name that was to be typed.
    """
    if request.POST.get("typed", "").strip() != expected:
        raise UsageError(f"To go on, type {expected} exactly as it is written.")


def user_name(request: HttpRequest) -> str:
    """Return the name that runs and logs show."""
    return str(request.user.get_username())


def log(request: HttpRequest, subject: str, message: str) -> None:
    """Write what the user does to the admin's log."""
    LogEntry.objects.create(
        user_id=request.user.pk,
        content_type_id=ContentType.objects.get_for_model(Run).pk,
        object_id=subject,
        object_repr=subject[:200],
        action_flag=CHANGE,
        change_message=message,
    )


def require_alias(project: Project, alias: str) -> str:
    """
    :raises Http404: settings.DATABASES has no such alias.
    """
    if alias not in project.databases:
        raise Http404(f"There is no database {alias!r}.")
    return alias


def database_name(project: Project, alias: str) -> str:
    """Return the NAME of the database *alias*; of a SQLite database the name of its file.

    :raises UsageError: there is no such alias.
    """
    from django_cfg.backup.engines.sqlite.connection import get_database_path

    database = project.database(alias)
    if project.engine(alias).format == "sqlite3":
        return Path(get_database_path(database)).name
    name = database.connection.get("OPTIONS", {}).get("dbname") or database.settings.get("OPTIONS", {}).get("dbname")
    return str(name or database.settings.get("NAME") or alias)
