"""Whoever else is connected to a database that is to be restored."""

from __future__ import annotations

from contextlib import suppress

from django_cfg.backup.engines.mysql.session import Session

_OTHERS = """
SELECT id, user, host FROM information_schema.processlist
WHERE db = %s AND id <> CONNECTION_ID() AND command <> 'Daemon' ORDER BY id
"""


def others(session: Session) -> list[str]:
    """Each as "id 7: user from host"; only our own user's where the right to see all is missing."""
    return [f"id {number}: {user} from {host}" for number, user, host in session.rows(_OTHERS, [session.database])]


def disconnect(session: Session) -> None:
    """End them; one that has just ended by itself is as good."""
    for number, _, _ in session.rows(_OTHERS, [session.database]):
        with suppress(Exception):  # the right to is missing: the wait for its locks will tell
            session.execute(f"KILL {int(number)}")
