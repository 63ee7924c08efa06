"""The domains of a site, given as hosts or URLs, in the forms that Django's settings take."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

LOCAL_HOSTS = (".localhost", "127.0.0.1", "[::1]")


def hosts(domains: Iterable[str]) -> list[str]:
    """Return each domain without scheme, port and path, as ALLOWED_HOSTS takes it."""
    return [_host(domain) for domain in domains]


def origins(domains: Iterable[str], scheme: str) -> list[str]:
    """Return the origins of *domains* for CSRF_TRUSTED_ORIGINS; *scheme* is of those that give none.

    ``*`` has no origin, and a domain with a leading dot is itself and its subdomains.
    """
    found = (_origin(domain, scheme) for domain in domains if domain != "*")
    return list(dict.fromkeys(origin for part in found for origin in part))


def require_host(domain: str, parameter: str) -> None:
    """
    :raises ValueError: *domain* has no host, or a port that is no number.
    """
    try:
        valid = bool(_host(domain)) and (_split(domain).port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"{parameter} holds something else than a host or a URL: write it as in shop.example")


def _origin(domain: str, scheme: str) -> list[str]:
    parts = _split(domain)
    host = _host(domain)
    port = f":{parts.port}" if parts.port else ""
    names = [host[1:], f"*{host}"] if host.startswith(".") else [host]
    return [f"{parts.scheme or scheme}://{name}{port}" for name in names]


def _host(domain: str) -> str:
    host = _split(domain).hostname or ""
    return f"[{host}]" if ":" in host else host


def _split(domain: str) -> SplitResult:
    return urlsplit(domain if "://" in domain else f"//{domain}")
