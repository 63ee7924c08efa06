"""What every address of the API does before and after its own work: the token, the bound, the method; errors as JSON.

A view's module is imported when it is first asked for: Django imports the addresses of a project for its checks, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt

from django_cfg.backup.api.answers import answer_document, answer_error
from django_cfg.backup.api.refusals import no_such_address, not_allowed
from django_cfg.backup.errors import BackupError, ConfigurationError

if TYPE_CHECKING:
    from django_cfg.backup.services.project.project import Project

_log = logging.getLogger("django_cfg.backup")


@dataclass(frozen=True)
class Call:
    """A request of a client that may ask."""

    request: HttpRequest
    project: Project
    client: str  # who asks, for the history; it is no secret

    @property
    def origin(self) -> str:
        """Who asks and from where, for the log."""
        return f"{self.client}, from {self.request.META.get('REMOTE_ADDR') or 'this machine'}"


View = Callable[[HttpRequest], HttpResponseBase]


def endpoint(method: str, name: str) -> View:
    """Return the view *name* (``module.function`` of this package) for requests with *method*; empty: there is none.

    No session and no cookie counts, so no other site can make a browser ask; no transaction is begun, since the
    database may be away, or about to be replaced.
    """

    @csrf_exempt
    @login_not_required
    def view(request: HttpRequest, **parts: str) -> HttpResponseBase:
        answer = _answer(request, method, name, parts)
        answer["Cache-Control"] = "no-store"
        answer["X-Content-Type-Options"] = "nosniff"
        return answer

    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def _answer(request: HttpRequest, method: str, name: str, parts: dict[str, str]) -> HttpResponseBase:
    from django_cfg.backup.services.project.project import current_project, operation

    with operation():
        try:
            project = current_project()
        except ConfigurationError:
            _log.exception("The HTTP API of the backups cannot answer")
            return answer_error(ConfigurationError("settings.BACKUP cannot be used: `manage.py check` says why."), ())
        return _answer_for(project, request, method, name, parts)


def _answer_for(
    project: Project, request: HttpRequest, method: str, name: str, parts: dict[str, str]
) -> HttpResponseBase:
    from django_cfg.backup.services.project.secrets import keep_secrets_out_of_logs, secrets_of

    secrets = secrets_of(project)
    with keep_secrets_out_of_logs(secrets):
        try:
            return _call(project, request, method, name, parts)
        except BackupError as error:
            return answer_error(error, secrets)
        except Exception:  # noqa: BLE001  Django's own page of an error is no JSON, and shows what we do not
            _log.exception("The HTTP API of the backups failed unexpectedly at %s", request.path)
            unexpected = BackupError("It failed unexpectedly, and the log of the site says why. Report this as a bug.")
            return answer_error(unexpected, secrets)


def _call(project: Project, request: HttpRequest, method: str, name: str, parts: dict[str, str]) -> HttpResponseBase:
    """
    :raises BackupError: why there is no answer.
    """
    from django_cfg.backup.api.access import find_client, require_host

    client = find_client(project.config.api, request)
    require_host(request)
    if not name:
        raise no_such_address(request.path)
    allowed = ("GET", "HEAD") if method == "GET" else (method,)
    if request.method not in allowed:
        raise not_allowed(allowed)
    found = import_string(f"{__package__}.{name}")(Call(request, project, client), **parts)
    return found if isinstance(found, HttpResponseBase) else answer_document(found)
