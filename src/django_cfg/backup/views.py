"""What is not part of the admin: the numbers for Prometheus."""

from __future__ import annotations

from secrets import compare_digest

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.services.monitoring.metrics import CONTENT_TYPE, recent_metrics
from django_cfg.backup.services.project.project import backup_config


@login_not_required
@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """How the backups are doing, for whom ``metrics_token`` was given; there is no such page without that setting."""
    try:
        token = backup_config().metrics_token
    except ConfigurationError:
        token = None
    if not token:
        raise Http404
    given = request.headers.get("Authorization", "")
    if not compare_digest(given.encode("latin-1", "replace"), f"Bearer {token}".encode()):
        refusal = HttpResponse("The bearer token of metrics_token is needed.\n", status=401, content_type="text/plain")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal
    return HttpResponse(str(recent_metrics()), content_type=CONTENT_TYPE)
