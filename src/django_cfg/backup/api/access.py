"""Who asks, and how often: tokens, compared in constant time, and a bound of requests per minute.

The bound counts in Django's default cache: if it is shared, for all processes together. A cache that fails, is silent
or keeps nothing is replaced by the memory of this process: on the worst day the API still answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from hmac import compare_digest
from ipaddress import IPv6Address, IPv6Network, ip_address

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import DisallowedHost
from django.db import connections
from django.http import HttpRequest

from django_cfg.backup.api.refusals import not_found, token_needed, too_many, wrong_host
from django_cfg.backup.config.api import BackupApiConfig
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.project import clock

_MINUTE = 60  # seconds
_PATIENCE = 1.0  # seconds for the cache
_SITE = 64  # bits of an IPv6 address that one client has no choice of
_own = LocMemCache("django_cfg_backup_api", {"OPTIONS": {"MAX_ENTRIES": 10_000}})
_silent_until = 0.0  # by time.monotonic: Django's cache is not asked before
_log = logging.getLogger("django_cfg.backup")


def find_client(config: BackupApiConfig, request: HttpRequest) -> str:
    """Return who asks, in words.

    :raises Refusal: there is no API, no valid token was sent, or too many requests were.
    """
    if not config.tokens:
        raise not_found()
    number = _find_token(config.tokens, _sent_token(request))
    who = f"address:{_site_of(request)}" if number is None else f"token:{_digest(config.tokens[number]).hex()}"
    _count(who, config.requests_per_minute)
    if number is None:
        raise token_needed()
    return f"HTTP API, token {number + 1}"


def require_host(request: HttpRequest) -> None:
    """Look at the host before anything is started: answers hold addresses.

    :raises Refusal: ALLOWED_HOSTS does not have it.
    """
    try:
        request.get_host()
    except DisallowedHost:
        raise wrong_host() from None


def _sent_token(request: HttpRequest) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _find_token(tokens: Sequence[str], sent: str) -> int | None:
    """Return which of *tokens* was sent. All are compared, of one length: the time says nothing about them."""
    digest = _digest(sent)
    found = [number for number, token in enumerate(tokens) if compare_digest(_digest(token), digest)]
    return found[0] if found else None


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()


def _site_of(request: HttpRequest) -> str:
    """The address of the client; of IPv6 the network, in which one client has any number of addresses."""
    sent = request.META.get("REMOTE_ADDR", "")
    try:
        address = ip_address(sent)
    except ValueError:
        return "unknown"  # a socket of this machine
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Network((int(address), _SITE), strict=False))
    return str(address)


def _count(who: str, allowed: int) -> None:
    """
    :raises Refusal: *who* has asked more often than *allowed* in this minute.
    """
    minute, second = divmod(int(clock.now().timestamp()), _MINUTE)
    key = f"django_cfg_backup_api:{minute}:{sha256(who.encode()).hexdigest()}"
    number = _count_in_shared(key) or _increment(_own, key)
    if number > allowed:
        raise too_many(allowed, _MINUTE - second)


def _count_in_shared(key: str) -> int:
    """Count in Django's cache; 0: it is of this process alone, or does not count, or does not answer."""
    global _silent_until

    def count() -> int | None:
        try:
            return _increment(caches["default"], key)
        except Exception as error:  # noqa: BLE001  each cache has errors of its own
            _log.warning("Django's cache does not count requests, so each process does: %s", error)
            return 0

    if isinstance(caches["default"], DummyCache | LocMemCache) or time.monotonic() < _silent_until:
        return 0
    number = InThread(lambda: _closing(count), "backup-api-cache").result(_PATIENCE, otherwise=None)
    if number is None:
        _silent_until = time.monotonic() + _MINUTE
        _log.warning("Django's cache has been silent for %.0f s: for a minute each process counts requests.", _PATIENCE)
    return number or 0


def _closing(count: Callable[[], int | None]) -> int | None:
    try:
        return count()
    finally:  # this thread's own
        caches["default"].close()
        connections.close_all()


def _increment(cache: BaseCache, key: str) -> int:
    cache.add(key, 0, 2 * _MINUTE)
    try:
        return cache.incr(key)
    except ValueError:  # it was thrown out in between
        return 1
