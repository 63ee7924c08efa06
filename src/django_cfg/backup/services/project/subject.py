"""What a call of the Python API is about: its errors carry the database and the backup, as far as they are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from django_cfg.backup.errors import BackupError
from django_cfg.backup.services.project.project import operation

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Subject:
    database: str | None
    backup: str | None


_current: ContextVar[_Subject | None] = ContextVar("django_cfg_backup_subject", default=None)


def public(call: Callable[P, R]) -> Callable[P, R]:
    """Make *call* a function of the Python API: one operation, whose errors say which database and backup they are of.

    Its parameters ``database`` and ``name`` are taken for them until the backup is found.
    """
    described = signature(call)

    @wraps(call)
    def named(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = described.bind(*args, **kwargs)
        except TypeError:
            return call(*args, **kwargs)  # raises it with its own name
        given.apply_defaults()
        name = given.arguments.get("name")
        with operation(), errors_named(given.arguments.get("database"), None if name == "latest" else name):
            return call(*args, **kwargs)

    return named


@contextmanager
def errors_named(database: str | None = None, backup: str | None = None) -> Iterator[None]:
    """A block whose errors carry *database* and *backup*, or what :func:`note_subject` has said since."""
    subject = _Subject(database, backup)
    token = _current.set(subject)
    try:
        yield
    except BackupError as error:
        error.database = error.database or subject.database
        error.backup = error.backup or subject.backup
        raise
    finally:
        _current.reset(token)


def note_subject(*, database: str | None = None, backup: str | None = None) -> None:
    """Note what the call under way is about, if there is one."""
    if subject := _current.get():
        subject.database = database or subject.database
        subject.backup = backup or subject.backup
