"""Marks of one incident in one place, as small objects that are written and never changed.

``<stem>.<number>.incident`` says that it has begun, ``.told`` that somebody has heard of it. Both are removed when it
is over; a place that lets nobody delete gets a third one, ``.over``, and the next incident the next number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.services.project import clock
from django_cfg.backup.storage.base import Storage

_BEGUN, _TOLD, _OVER = "incident", "told", "over"
_AGAIN_AFTER = timedelta(hours=1)  # what may not have been heard, and twice as long after each time


@dataclass(frozen=True)
class Mark:
    """One incident that goes on."""

    marks: Marks
    number: int
    message: str
    since: datetime | None = None  # None: nobody knows
    attempts: int = 0  # to tell of it, before this one

    def told(self) -> None:
        """Somebody has heard of it."""
        self.marks.write(self.number, _TOLD, b"")

    def withdraw(self) -> None:
        """It is over, or nobody has heard of it."""
        self.marks.remove(self.number)

    def is_to_be_told_again(self, was_told: bool, most: timedelta | None) -> bool:
        """Whoever began it has not come to telling, or cannot know whether it was heard, or it was long ago."""
        if self.since is None:
            return not was_told
        age = clock.now() - self.since
        return (not was_told and age >= _AGAIN_AFTER * 2**self.attempts) or (most is not None and age >= most)


@dataclass(frozen=True)
class Marks:
    """All methods raise StorageError when the place cannot be used."""

    place: Storage
    stem: str
    valid_for: timedelta | None = None  # what is older is told again

    def begin(self, message: str) -> Mark | None:
        """Mark a new incident; None: it is marked, and told of or about to be."""
        attempts = 0
        if known := self.going_on():
            was_told = self.place.stat(self._key(known.number, _TOLD)) is not None
            if not known.is_to_be_told_again(was_told, self.valid_for):
                return None
            self.remove(known.number)
            attempts = 0 if was_told else known.attempts + 1
        mark = Mark(self, self._number(), message, clock.now(), attempts)
        facts = {"since": clock.now().isoformat(), "message": message, "attempts": attempts}
        return mark if self.write(mark.number, _BEGUN, json.dumps(facts).encode()) else None

    def end(self) -> bool:
        """Whether one was going on."""
        known = self.going_on()
        if known:
            self.remove(known.number)
        return known is not None

    def going_on(self) -> Mark | None:
        number = self._number()
        key = self._key(number, _BEGUN)
        return self._read(number, key) if self.place.stat(key) else None

    def write(self, number: int, what: str, data: bytes) -> bool:
        """False: somebody else has."""
        try:
            self.place.write(self._key(number, what), data or b"{}")
        except NameTaken:
            return False
        return True

    def remove(self, number: int) -> None:
        try:
            for what in (_TOLD, _BEGUN):  # the other way round, one that is killed would leave the next one told
                self.place.delete(self._key(number, what))
        except StorageError:
            self.write(number, _OVER, b"")

    def _number(self) -> int:
        """Of the incident that goes on, or would be the next."""
        return next(number for number in count(1) if self.place.stat(self._key(number, _OVER)) is None)

    def _read(self, number: int, key: str) -> Mark:
        try:
            facts = json.loads(self.place.read(key))
            since = datetime.fromisoformat(facts["since"])
            return Mark(self, number, str(facts["message"]), since, int(facts["attempts"]))
        except (ValueError, KeyError, TypeError):
            return Mark(self, number, "")

    def _key(self, number: int, what: str) -> str:
        return f"{self.stem}.{number}.{what}"
