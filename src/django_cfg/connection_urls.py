"""URLs of databases and of the mail server, as Django's settings; django-environ knows the schemes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environ import Env  # type: ignore[import-untyped]

from django_cfg.environment import substitute


def parse_database_url(reference: str) -> dict[str, Any]:
    """The database URL, which may hold ``${VAR}``, as parameters of ``DatabaseConfig``.

    ``${`` in the values is escaped: what came out of a variable is not searched for variables again.

    :raises ValueError: the URL cannot be read; the message holds no part of it.
    """
    url = substitute(reference, wanted_by="the database URL")
    scheme, _, rest = url.partition("://")
    if scheme not in Env.DB_SCHEMES:
        raise ValueError("a database URL begins with a scheme, as in postgres://, mysql:// or sqlite:///")
    if scheme == "sqlite" and rest != ":memory:" and not rest.startswith("/"):
        raise ValueError("sqlite:///name is a file in base_dir, sqlite:////folder/name an absolute path")
    parsed = _parse(Env.db_url_config, url, "the database URL")
    return {name.lower(): _literally(value) for name, value in parsed.items()}


def parse_email_url(url: str) -> dict[str, Any]:
    """The mail server's URL as ``EMAIL_BACKEND``, ``EMAIL_HOST`` and so on; only what it gives.

    :raises ValueError: the URL cannot be read; the message holds no part of it.
    """
    parsed = _parse(Env.email_url_config, url, "email_url")
    if parsed.pop("OPTIONS", None):
        raise ValueError("email_url takes no other options than email_use_tls and email_use_ssl")
    return {name: value for name, value in parsed.items() if value not in (None, "")}


def _parse(parser: Callable[[str], dict[str, Any]], url: str, what: str) -> dict[str, Any]:
    """Parse without letting the parser quote parts of the URL: a part may be the password's."""
    try:
        return parser(url)
    except (ValueError, ImproperlyConfigured):
        raise ValueError(
            f"{what} cannot be read: it looks like scheme://user:password@host:port/name, and "
            "special characters in the password are percent-encoded"
        ) from None


def _literally(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _literally(inner) for key, inner in value.items()}
    return value.replace("${", "$${") if isinstance(value, str) else value
