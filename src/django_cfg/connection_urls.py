"""URLs of databases and of the mail server, as Django's settings; django-environ knows the schemes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from django.core.exceptions import ImproperlyConfigured
from environ import Env  # type: ignore[import-untyped]

from django_cfg.environment import substitute

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+._-]*)://")
_PARAMETERS_OF_OURS = ("sslmode", "connect_timeout")
_FILES = ("sqlite", "spatialite")


def is_database_url(text: str) -> bool:
    """Return True if *text* begins with a scheme. SQLite's own ``file://`` is a name, not a URL of a database."""
    match = _SCHEME.match(text)
    return match is not None and match[1].lower() != "file"


def parse_database_url(reference: str) -> dict[str, Any]:
    """The database URL, which may hold ``${VAR}``, as parameters of ``DatabaseConfig``.

    ``${`` in the values is escaped: what came out of a variable is not searched for variables again.

    :raises ValueError: the URL cannot be read; the message holds no part of it but an unknown scheme.
    """
    url = substitute(reference, wanted_by="the database URL").strip()
    scheme = _known_scheme(url)
    rest = url.partition("://")[2]
    if scheme in _FILES and rest != ":memory:" and not rest.startswith("/"):
        raise ValueError("sqlite:///name is a file in base_dir, sqlite:////folder/name an absolute path")
    parsed = _parse(Env.db_url_config, f"{scheme}://{rest}", "the database URL")
    if scheme not in _FILES:
        _require_readable(rest, parsed)
        parsed["HOST"] = unquote(parsed["HOST"])
    parts = {name.lower(): _literally(value) for name, value in parsed.items()}
    options = parts.pop("options", {})
    own = {name: options.pop(name) for name in _PARAMETERS_OF_OURS if name in options}
    return {**parts, **own, **({"options": options} if options else {})}


def parse_email_url(url: str) -> dict[str, Any]:
    """The mail server's URL as ``EMAIL_BACKEND``, ``EMAIL_HOST`` and so on; only what it gives.

    :raises ValueError: the URL cannot be read; the message holds no part of it.
    """
    parsed = _parse(Env.email_url_config, url, "email_url")
    if parsed.pop("OPTIONS", None):
        raise ValueError("email_url takes no other options than email_use_tls and email_use_ssl")
    return {name: value for name, value in parsed.items() if value not in (None, "")}


def escape_references(text: str) -> str:
    """Return *text* so that a substitution gives it back as it is."""
    return text.replace("${", "$${")


def _known_scheme(url: str) -> str:
    match = _SCHEME.match(url)
    if not match:
        raise ValueError("a database URL begins with a scheme, as in postgres://, mysql:// or sqlite:///")
    scheme = {"sqlite3": "sqlite"}.get(match[1].lower(), match[1].lower())
    if scheme not in Env.DB_SCHEMES:
        raise ValueError(
            f"a database URL begins with a scheme that is known here, which {match[1]}:// is not: "
            "use postgresql://, mysql:// or sqlite:///, or give engine, name, user, password and host instead of a URL"
        )
    return scheme


def _require_readable(rest: str, parsed: dict[str, Any]) -> None:
    """
    :raises ValueError: a part of the password would be taken for a port, a database or an option.
    """
    if "@" in rest and not parsed["USER"]:
        raise _unreadable("the database URL")
    if not parsed["NAME"]:
        raise ValueError("the database URL names no database: it ends in /name, after the host")


def _parse(parser: Callable[[str], dict[str, Any]], url: str, what: str) -> dict[str, Any]:
    """Parse without letting the parser quote parts of the URL: a part may be the password's."""
    try:
        return parser(url)
    except (ValueError, ImproperlyConfigured):
        raise _unreadable(what) from None


def _unreadable(what: str) -> ValueError:
    return ValueError(
        f"{what} cannot be read: it looks like scheme://user:password@host:port/name, and "
        "special characters in the password are percent-encoded"
    )


def _literally(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _literally(inner) for key, inner in value.items()}
    return escape_references(value) if isinstance(value, str) else value
