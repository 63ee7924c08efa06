"""Marks of one incident in one place, as small objects that are written and never changed.

``<stem>.<number>.incident`` says that it has begun, ``.notified`` that a message about it was sent. Both are removed
when it is over; where nothing can be deleted a third one, ``.over``, is added, and the next incident gets the next
number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.services.project import clock
from django_cfg.backup.storage.base import Storage

_BEGUN, _NOTIFIED, _OVER = "incident", "notified", "over"
_AGAIN_AFTER = timedelta(hours=1)  # what may not have arrived, and twice as long after each time


@dataclass(frozen=True)
class IncidentMark:
    """One incident that goes on."""

    marks: IncidentStore
    number: int
    message: str
    since: datetime | None = None  # None: unknown
    attempts: int = 0  # to notify, before this one

    def set_notified(self) -> None:
        """Note that a message was sent."""
        self.marks.write(self.number, _NOTIFIED, b"")

    def withdraw(self) -> None:
        """Remove it: it is over, or no message was sent."""
        self.marks.remove(self.number)

    def is_to_be_notified_again(self, was_notified: bool, most: timedelta | None) -> bool:
        """Return True if its notification did not come about, may not have arrived, or was long ago."""
        if self.since is None:
            return not was_notified
        age = clock.now() - self.since
        return (not was_notified and age >= _AGAIN_AFTER * 2**self.attempts) or (most is not None and age >= most)


@dataclass(frozen=True)
class IncidentStore:
    """All methods raise StorageError when the place cannot be used."""

    place: Storage
    stem: str
    valid_for: timedelta | None = None  # an older one is notified again

    def begin(self, message: str) -> IncidentMark | None:
        """Mark a new incident; None: it is marked already, and its notification was sent or is being sent."""
        attempts = 0
        if known := self.going_on():
            was_notified = self.place.stat(self._key(known.number, _NOTIFIED)) is not None
            if not known.is_to_be_notified_again(was_notified, self.valid_for):
                return None
            self.remove(known.number)
            attempts = 0 if was_notified else known.attempts + 1
        mark = IncidentMark(self, self._number(), message, clock.now(), attempts)
        facts = {"since": clock.now().isoformat(), "message": message, "attempts": attempts}
        return mark if self.write(mark.number, _BEGUN, json.dumps(facts).encode()) else None

    def end(self) -> bool:
        """Whether one was going on."""
        known = self.going_on()
        if known:
            self.remove(known.number)
        return known is not None

    def going_on(self) -> IncidentMark | None:
        number = self._number()
        key = self._key(number, _BEGUN)
        return self._read(number, key) if self.place.stat(key) else None

    def write(self, number: int, what: str, data: bytes) -> bool:
        """Return False if another process has."""
        try:
            self.place.write(self._key(number, what), data or b"{}")
        except NameTaken:
            return False
        return True

    def remove(self, number: int) -> None:
        try:
            # In the other order, a process killed between would leave the next incident notified.
            for what in (_NOTIFIED, _BEGUN):
                self.place.delete(self._key(number, what))
        except StorageError:
            self.write(number, _OVER, b"")

    def _number(self) -> int:
        """Of the incident that goes on, or would be the next."""
        return next(number for number in count(1) if self.place.stat(self._key(number, _OVER)) is None)

    def _read(self, number: int, key: str) -> IncidentMark:
        try:
            facts = json.loads(self.place.read(key))
            since = datetime.fromisoformat(facts["since"])
            return IncidentMark(self, number, str(facts["message"]), since, int(facts["attempts"]))
        except (ValueError, KeyError, TypeError):
            return IncidentMark(self, number, "")

    def _key(self, number: int, what: str) -> str:
        return f"{self.stem}.{number}.{what}"
