"""Who does it: the user of the admin, else the user of this process."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LONGEST = 150  # characters, as of a user name of Django
_actor: ContextVar[str] = ContextVar("django_cfg_backup_actor", default="")


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """A block that a user of the site is responsible for."""
    token = _actor.set(name[:_LONGEST])
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor() -> str:
    return _actor.get() or _process_user()


def _process_user() -> str:
    try:
        return getpass.getuser()[:_LONGEST]
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return "unknown"
