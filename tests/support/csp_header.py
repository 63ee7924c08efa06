"""A strict Content-Security-Policy, as Django 6.0's own middleware sends one: for the versions before that."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

POLICY = "default-src 'self'"


def send_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        answer = get_response(request)
        answer["Content-Security-Policy"] = POLICY
        return answer

    return middleware
