"""The switch: both databases get their new names in one transaction, or keep their old ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.postgresql import database_properties
from django_cfg.backup.engines.postgresql.connection import connected
from django_cfg.backup.engines.postgresql.error_text import spoken, sqlstate
from django_cfg.backup.engines.postgresql.schema import NO_TIMEOUTS_NOW, execute, quoted
from django_cfg.backup.engines.postgresql.sessions import end_all, ended, others
from django_cfg.backup.errors import RestoreFailed

_IN_USE = "55006"  # object_in_use: https://www.postgresql.org/docs/current/errcodes-appendix.html


def rehearse(connection: Any, scratch: str, target: str, alias: str) -> None:
    """Give the scratch what the target has outside of its dump, and take it back: before hours of loading.

    :raises RestoreFailed: this role may not.
    """
    with _told(alias):
        execute(connection, "BEGIN", *database_properties.copying_statements(connection, scratch, target), "ROLLBACK")


def swap(door: Database, scratch: str, target: str, aside: str | None, *, disconnect: bool) -> None:
    """Let *scratch* be the *target*; the database that was it is then called *aside* (None: there was none).

    :raises RestoreFailed: nothing has changed.
    """
    with connected(door) as connection:
        end_all(connection, scratch)
        in_the_way = others(connection, target)
        with ended(door, target) if disconnect else nullcontext(), _told(door.alias, connection, target, in_the_way):
            execute(connection, "BEGIN", NO_TIMEOUTS_NOW)
            if aside:
                execute(connection, *database_properties.copying_statements(connection, scratch, target))
                execute(connection, _rename(target, aside))
            execute(connection, _rename(scratch, target), "COMMIT")


def _rename(old: str, new: str) -> str:
    return f"ALTER DATABASE {quoted(old)} RENAME TO {quoted(new)}"


@contextmanager
def _told(alias: str, connection: Any = None, target: str = "", in_the_way: list[str] | None = None) -> Iterator[None]:
    """Put into words why the server refused."""
    try:
        yield
    except Exception as error:  # psycopg 2 and 3 share no class but Exception
        state = sqlstate(error)
        if state is None:
            raise
        if state == _IN_USE:
            execute(connection, "ROLLBACK")
            raise _in_use(alias, others(connection, target) or in_the_way or []) from error
        raise RestoreFailed(
            f"The restored data could not take the place of the database {alias!r}, which is as it was: "
            f"{spoken(str(error))}. Restore with a role that owns the database, or a superuser "
            "(BackupDatabaseConfig.connection), or with --in-place."
        ) from error


def _in_use(alias: str, found: list[str]) -> RestoreFailed:
    told = "; ".join(found) or "they have left since"
    return RestoreFailed(
        f"Other connections use the database {alias!r}, so the restored data could not take its place and it is as it "
        f"was: {told}. Stop the site and its workers and restore again, or let the restore end them with --disconnect."
    )
