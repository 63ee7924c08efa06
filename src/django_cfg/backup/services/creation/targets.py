"""The places that one backup goes to. One that fails is dropped with what it has got, and the others go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from django_cfg.backup.errors import StorageError
from django_cfg.backup.pipeline.stream import Writable
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.catalog.naming import free_name
from django_cfg.backup.services.project.places import Place
from django_cfg.backup.storage.fan_out import publish_in_all

_PATIENCE = 60.0  # seconds for the first answer of a copy's storage: the dump has not begun
_log = logging.getLogger("django_cfg.backup")


class Targets:
    """
    :ivar failures: by the name of the place, why it was dropped.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = list(places)
        self._stored: dict[str, list[str]] = {place.name: [] for place in places}  # keys of archives
        self.failures: dict[str, Exception] = {}
        self.infix = next(filter(None, (place.storage.new_infix() for place in places)), "")

    @property
    def left(self) -> list[Place]:
        """Those that have not failed."""
        return [place for place in self._places if place.name not in self.failures]

    def free_name(self, wanted: str) -> str:
        """*wanted*, or with ``-2``, ``-3``... when it is taken in one of the places: nothing is ever overwritten.

        Places that do not answer are dropped.

        :raises StorageError: none answers.
        """
        return free_name(self._is_taken, wanted)

    def _is_taken(self, name: str) -> bool:
        if len(self._places) == 1:
            return self._places[0].storage.is_taken(name)
        asked = [(place, InThread(partial(place.storage.is_taken, name), "backup-place")) for place in self.left]
        taken = False
        for place, answer in asked:
            with self.dropping(place):
                found = answer.result(_PATIENCE, otherwise=None)
                if found is None:
                    raise StorageError(f"{place.storage.location} has not answered within {_PATIENCE:.0f} seconds.")
                taken = taken or found
        return taken

    @contextmanager
    def publish(self, key: str, expected_size: int) -> Iterator[Writable]:
        """A writer of the archive *key* in all places that are left."""
        if len(self._places) == 1:
            with self._places[0].storage.publish(key, expected_size=expected_size) as sink:
                yield sink
            self._stored[self._places[0].name].append(key)
            return
        storages = {place.name: place.storage for place in self.left}
        with publish_in_all(storages, key, expected_size=expected_size) as fan_out:
            yield fan_out
        for name in fan_out.published:
            self._stored[name].append(key)
        self._drop_all(fan_out.failures)

    @contextmanager
    def dropping(self, place: Place) -> Iterator[None]:
        """Drop *place* if the block fails, unless no other one is left."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  raised again unless another place is left
            self._drop_all({place.name: error})

    def withdraw(self) -> None:
        """Delete the archives in all places: nothing is published."""
        for place in self._places:
            for key in self._stored[place.name]:
                try:
                    place.storage.delete(key)
                except StorageError as error:
                    _log.warning("What is left of a backup that failed stays: %s", error)
            self.keep(place)

    def keep(self, place: Place) -> None:
        """Leave the archives there: they are a backup, or the fate of them is decided."""
        self._stored[place.name] = []

    def _drop_all(self, failures: dict[str, Exception]) -> None:
        for name, error in failures.items():
            if name in self.failures:
                continue
            if len(self.left) == 1:
                raise next(iter(self.failures.values()), error)
            self.failures[name] = error
            _log.warning("The place %s gets no backup now: %s", name, error)
