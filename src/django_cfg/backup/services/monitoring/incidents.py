"""Incidents: what is known to be wrong is notified once when it begins and once when it is over.

The marks are in the storage, where every machine sees them and a lost database takes nothing with it. While
the storage cannot be used, a mark of this machine serves, for half a day at most; it does not count where the storage
answers. In doubt a message is sent twice.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Literal

from django_cfg.backup.errors import ConfigurationError, StorageError
from django_cfg.backup.manifest import Source
from django_cfg.backup.process.private_dir import is_private
from django_cfg.backup.services.monitoring.incident_store import IncidentMark, IncidentStore
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.storage.local import LocalStorage

Kind = Literal[
    "backup",
    "missed",
    "prune",
    "size",
    "drill",
    "no drill",
    "check",
    "schedule",
    "backup claim",
    "verification claim",
    "copy",
]
_LOCAL_FOR = timedelta(hours=12)
_UNUSABLE = (StorageError, ConfigurationError)  # of a storage, also where its settings are
_log = logging.getLogger("django_cfg.backup")


@dataclass(frozen=True)
class Incident:
    """Something that is wrong with one source, or with the schedule of a project (no database)."""

    project: Project
    kind: Kind
    database: str = ""

    def begin(self, message: str, notify: Callable[[], bool | None]) -> None:
        """Notify of it unless that has been done; a message that did not arrive does not count.

        :param notify: returns True: a message was sent; None: unknown, it is sent again after a while.
        """
        mark = self._new_mark(message)
        if mark is None:
            return
        heard: bool | None = False
        try:
            heard = notify()
        finally:
            if heard is not None:
                self._settle(mark, heard=heard)

    def end(self) -> bool:
        """Forget it; whether there was something to forget."""
        found = False
        for marks_of in (attrgetter("_stored"), attrgetter("_local")):
            try:
                found = marks_of(self).end() or found
            except _UNUSABLE as error:
                _log.warning("Whether an incident is over cannot be marked: %s", error)
        return found

    def message(self) -> str:
        """Why it goes on; empty when it does not, by the storage.

        :raises StorageError: that cannot be known.
        """
        mark = self._stored.going_on()
        return mark.message if mark else ""

    def goes_on(self) -> bool:
        """As far as can be known."""
        try:
            return self._stored.going_on() is not None
        except _UNUSABLE:
            return False

    def _new_mark(self, message: str) -> IncidentMark | None:
        """Return None if it has been notified."""
        try:
            return self._stored.begin(message)
        except _UNUSABLE as error:
            _log.warning("An incident is marked on this machine only: %s", error)
        try:
            return self._local.begin(message)
        except _UNUSABLE as error:
            _log.warning("An incident is marked nowhere: %s", error)
        return IncidentMark(self._local, 0, message)

    def _settle(self, mark: IncidentMark, *, heard: bool) -> None:
        try:
            mark.set_notified() if heard else mark.withdraw()
        except _UNUSABLE as error:
            _log.warning("Whether an incident was notified cannot be marked: %s", error)

    @property
    def _stored(self) -> IncidentStore:
        return IncidentStore(self.project.storage, self._stem)

    @property
    def _local(self) -> IncidentStore:
        digest = sha256(self.project.location.encode()).hexdigest()[:24]
        folder = Path(tempfile.gettempdir(), f"django-cfg-incidents-{os.getuid()}-{digest}")
        return IncidentStore(_OwnFolder(folder), self._stem, _LOCAL_FOR)

    @property
    def _stem(self) -> str:
        source = Source(project=self.project.name, env=self.project.env, database=self.database)
        digest = sha256(f"{source}\0{self.kind}".encode()).hexdigest()[:12]
        return f"incidents/{self.kind.replace(' ', '-')}-{digest}"


class _OwnFolder(LocalStorage):
    """A folder that counts only if this user made it: a mark by another one would silence a notification."""

    def _path(self, key: str) -> Path:
        self._require_own()
        return super()._path(key)

    def _exists(self) -> bool:
        self._require_own()
        return super()._exists()

    def _require_own(self) -> None:
        with suppress(FileNotFoundError):
            found = self.root.lstat()
            if not stat.S_ISDIR(found.st_mode) or not is_private(found):
                raise StorageError(
                    f"{self.root} is not used: it is another user's, a link, or others may write it. Remove it."
                )
