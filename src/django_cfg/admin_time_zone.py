"""Middleware: the pages of the admin show and read times in ADMIN_TIMEZONE, all others in TIME_ZONE."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone


class AdminTimeZone:
    """Added by ``DjangoConfig.admin_timezone``, after Django's own middleware."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with timezone.override(timezone.get_current_timezone()):
            return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: object) -> None:
        """Activate the zone once the page is known; ``__call__`` ends it."""
        match = request.resolver_match
        if match and "admin" in match.app_names:
            timezone.activate(ZoneInfo(getattr(settings, "ADMIN_TIMEZONE", settings.TIME_ZONE)))
