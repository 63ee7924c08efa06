"""Who may do what: the permissions of the model Run, a password that is entered again, the admin's own log."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed

from django_cfg.backup.errors import UsageError
from django_cfg.backup.models import Run

View = Callable[..., HttpResponseBase]
VERBS = (
    "view_backup",
    "create_backup",
    "verify_backup",
    "pin_backup",
    "delete_backup",
    "download_backup",
    "restore_backup",
    "prune_backups",
)


def may(request: HttpRequest, codename: str) -> bool:
    """Return True if the user has the permission, and may look at the pages at all."""
    user: Any = request.user
    return all(user.has_perm(f"django_cfg_backup.{name}") for name in ("view_backup", codename))


def permissions_of(request: HttpRequest) -> dict[str, bool]:
    """Return for templates what the user may do, by the verb: ``create``, ``restore``."""
    return {codename.partition("_")[0]: may(request, codename) for codename in VERBS}


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
