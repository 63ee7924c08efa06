"""The place that a configuration names, a bucket or a container below a prefix, and what its parameters may hold."""

from __future__ import annotations

import re
from typing import Protocol
from urllib.parse import urlsplit

from django_cfg.backup.errors import ConfigurationError

_LOOPBACK = re.compile(r"localhost$|.*\.localhost$|127\.|::1$")


class Place(Protocol):
    """What every object store's place knows of itself."""

    @property
    def location(self) -> str:
        """How messages call it."""

    @property
    def identity(self) -> str:
        """Equal for two spellings of the address of one bucket or container."""

    @property
    def prefix(self) -> str:
        """ "" or a path that ends with a slash."""

    @property
    def endpoint(self) -> str | None:
        """The URL of the service; None: Amazon's."""

    def redact(self, text: str) -> str:
        """Return *text* without secrets."""


def parse_prefix(value: str, parameter: str) -> str:
    """
    :raises ConfigurationError: *value* is no path.
    """
    parts = value.strip("/").split("/")
    if parts == [""]:
        return ""
    if {"", ".", ".."} & set(parts) or not value.isprintable():
        raise ConfigurationError(
            f"BackupStorageConfig.{parameter} is {value!r}: it is a path of plain names with single slashes between "
            "them."
        )
    return f"{'/'.join(parts)}/"


def parse_endpoint(url: str, parameter: str, *, default: str, keys: str) -> str:
    """Return *url* with the scheme in lower case and without a slash at its end.

    :param default: what is used where the parameter is left out.
    :param keys: the parameters that keys belong into.
    :raises ConfigurationError: it is no URL of a server, or holds a secret.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"BackupStorageConfig.{parameter} is no URL: write it with https:// in front, "
            f"or leave it out to use {default}."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            f"BackupStorageConfig.{parameter} may hold a host, a port and a path only; the keys belong into {keys}."
        )
    return parts.geturl().rstrip("/")


def crosses_a_network_in_the_clear(endpoint: str | None) -> bool:
    """Return True for plain HTTP to another machine."""
    parts = urlsplit(endpoint or "")
    return parts.scheme == "http" and not _LOOPBACK.match(parts.hostname or "")
