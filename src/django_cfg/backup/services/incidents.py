"""What is known to be wrong: told once when it begins, once when it is over.

The marks stand in the storage, where every machine sees them and a lost database takes nothing with it. While
the storage cannot be used, a mark of this machine serves, for half a day at most. On doubt somebody is told twice.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Literal

from django_cfg.backup.errors import ConfigurationError, NameTaken, StorageError
from django_cfg.backup.manifest import Source
from django_cfg.backup.services import clock
from django_cfg.backup.services.project import Project
from django_cfg.backup.storage.base import Storage
from django_cfg.backup.storage.local import LocalStorage

Kind = Literal["backup", "drill", "no drill", "check", "size", "schedule"]
SUFFIX = ".incident"
_LOCAL_FOR = timedelta(hours=12)
_log = logging.getLogger("django_cfg.backup")


@dataclass(frozen=True)
class Incident:
    """Something that is wrong with one source, or with the schedule of a project (no database)."""

    project: Project
    kind: Kind
    database: str = ""

    def begin(self, message: str, tell: Callable[[], bool]) -> None:
        """Tell of it unless that has been done; what nobody has heard counts as not told."""
        if self._mark(message) and not tell():
            self._unmark()

    def end(self) -> bool:
        """Forget it; whether there was something to forget."""
        return self._unmark()

    def _mark(self, message: str) -> bool:
        """False when it is marked already."""
        data = json.dumps({"since": clock.now().isoformat(), "message": message}).encode()
        local = _of_this_machine(self.project)
        known_here = self._is_recent(local)
        try:
            self.project.storage.write(self._key, data)
        except NameTaken:
            return False
        except (StorageError, ConfigurationError) as error:
            _log.warning("An incident is marked on this machine only: %s", error)
            return not known_here and _written(local, self._key, data)
        return not known_here

    def _unmark(self) -> bool:
        found = False
        for place_of in (attrgetter("storage"), _of_this_machine):
            try:
                place = place_of(self.project)
                if place.stat(self._key) is not None:
                    place.delete(self._key)
                    found = True
            except (StorageError, ConfigurationError) as error:
                _log.warning("Whether an incident is over cannot be marked: %s", error)
        return found

    def _is_recent(self, local: Storage) -> bool:
        try:
            found = local.stat(self._key)
            if found is None or clock.now() - found.modified < _LOCAL_FOR:
                return found is not None
            local.delete(self._key)
        except StorageError as error:
            _log.warning("A mark of this machine cannot be read: %s", error)
        return False

    @property
    def _key(self) -> str:
        source = Source(project=self.project.name, env=self.project.env, database=self.database)
        digest = sha256(f"{source}\0{self.kind}".encode()).hexdigest()[:12]
        return f"incidents/{self.kind.replace(' ', '-')}-{digest}{SUFFIX}"


def _of_this_machine(project: Project) -> LocalStorage:
    digest = sha256(project.location.encode()).hexdigest()[:24]
    return LocalStorage(Path(tempfile.gettempdir(), f"django-cfg-incidents-{os.getuid()}-{digest}"))


def _written(place: Storage, key: str, data: bytes) -> bool:
    try:
        place.write(key, data)
    except NameTaken:
        return False
    except StorageError as error:
        _log.warning("An incident is marked nowhere: %s", error)
    return True
