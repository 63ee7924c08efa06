"""Why a request is refused before any work is done for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django_cfg.backup.errors import UsageError
from django_cfg.backup.formatting import counted


class Refusal(UsageError):
    """Carries the status of HTTP, and headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.headers = status, dict(headers or {})
        super().__init__(message)


def not_found() -> Refusal:
    """Without tokens there is no API, which is all that is said."""
    return Refusal(404, "Not found.")


def no_such_address(path: str) -> Refusal:
    return Refusal(404, f"There is no address {path!r}. openapi.json lists all; none ends with a slash.")


def token_needed() -> Refusal:
    return Refusal(
        401,
        "A token of BackupApiConfig.tokens is needed, in the header `Authorization: Bearer TOKEN`.",
        {"WWW-Authenticate": 'Bearer realm="backups"'},
    )


def wrong_host() -> Refusal:
    return Refusal(400, "The header Host names a host that is not in ALLOWED_HOSTS of this site.")


def too_many(allowed: int, seconds: int) -> Refusal:
    return Refusal(
        429,
        f"There were more than {counted(allowed, 'request')} in this minute, which "
        f"BackupApiConfig.requests_per_minute allows: ask again in {counted(seconds, 'second')}.",
        {"Retry-After": str(seconds)},
    )


def not_allowed(methods: Sequence[str]) -> Refusal:
    return Refusal(405, f"This address takes {' and '.join(methods)} alone.", {"Allow": ", ".join(methods)})


def switched_off(what: str, parameter: str) -> Refusal:
    return Refusal(
        403,
        f"{what} through the HTTP API is switched off. BackupApiConfig({parameter}=True) in settings.BACKUP switches "
        "it on, for the clients of all tokens.",
    )


def too_large(limit: int) -> Refusal:
    return Refusal(413, f"The body has more than {limit:,} bytes, which none of these requests needs.")
