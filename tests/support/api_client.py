"""The HTTP API inside the process of the tests, and a client that has its token."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

from django.core.cache import cache
from django.test import Client

from django_cfg.backup.api.access import _own
from tests.support.django_project import Site

TOKEN = "token-one-" + "a" * 30
OTHER = "token-two-" + "b" * 30
SETTINGS: dict[str, Any] = {
    "ROOT_URLCONF": "tests.support.api_urls",
    "ALLOWED_HOSTS": ["testserver"],
    "MIDDLEWARE": [
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ],
}


class Api:
    """Requests to the API of the project of *site*."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.set(**SETTINGS)
        self.client = Client(enforce_csrf_checks=True)
        forget_counts()

    def configure(self, *tokens: str, api: dict[str, Any] | None = None, **parameters: Any) -> None:
        """``settings.BACKUP`` with *tokens*; none: those of the tests."""
        api = {"tokens": [*(tokens or (TOKEN, OTHER))], "requests_per_minute": 1000, **(api or {})}
        self.site.configure(api=api, **{"retention": {"enabled": False}, "schedule": {"enabled": False}, **parameters})

    def get(self, path: str, query: Any = None, *, token: str | None = TOKEN, **options: Any) -> Any:
        return self.client.get(address(path), query, headers=headers(token), **options)

    def post(self, path: str, body: Any = b"", *, token: str | None = TOKEN, **options: Any) -> Any:
        """POST *body*: bytes as they are, anything else as JSON."""
        kind = {"content_type": "application/json", **options}
        return self.client.post(address(path), body, headers=headers(token), **kind)

    def ended(self, answer: Any) -> Any:
        """Let a tick do the job that *answer* has announced, and return how it ended."""
        assert answer.status_code == 202, answer.text
        assert answer["Location"] == answer.json()["address"]
        self.site.call("backup_tick")
        return self.get(f"jobs/{answer.json()['id']}").json()


def address(path: str) -> str:
    return f"/backups/api/{path}"


def headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def refused(answer: Any, status: int, exit_code: int = 2) -> str:
    """Return the message of an error, after its form and its status."""
    assert answer.status_code == status, answer.text
    assert answer["Content-Type"] == "application/json"
    assert answer["Cache-Control"] == "no-store"
    assert answer.json() == {"error": ANY, "exit_code": exit_code}
    return str(answer.json()["error"])


def forget_counts() -> None:
    cache.clear()
    _own.clear()
