"""Copies of manifests and proofs, in memory and in a table, so that a page costs one list of the storage.

The list says whether a copy is still the object: its etag changes with its content. Nothing is lost with the copies,
and nothing that restores or deletes uses them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import sha256

from django.db import router, transaction

from django_cfg.backup.errors import StorageError
from django_cfg.backup.models import CachedObject
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.catalog.catalog import Catalog
from django_cfg.backup.services.catalog.places import read_places
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.connections import closing_connections
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.runs.history_database import attempted
from django_cfg.backup.storage.base import Storage, StoredObject

_MOST_BYTES = 64 << 20  # in the memory of a process
_LARGEST = 1 << 20  # bytes of an object that is kept
_LONGEST_ETAG = 200  # characters
_AT_ONCE = 200  # rows
_PATIENCE = 1.0  # seconds for the table: without it the storage is read
Content = tuple[str, bytes | StorageError]


class _Memory:
    """Contents by id and etag; the ones that were not used for the longest time make room."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contents: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size = 0  # bytes
        self.listed: dict[str, frozenset[str]] = {}  # by place: the ids of what was listed last

    def get(self, number: str, etag: str) -> bytes:
        """Return the content; empty if it is not known."""
        with self._lock:
            content = self._contents.get((number, etag), b"")
            if content:
                self._contents.move_to_end((number, etag))
        return content

    def put(self, number: str, etag: str, content: bytes) -> None:
        with self._lock:
            self._size += len(content) - len(self._contents.pop((number, etag), b""))
            self._contents[number, etag] = content
            while self._size > _MOST_BYTES:
                self._size -= len(self._contents.popitem(last=False)[1])

    def clear(self) -> None:
        with self._lock:
            self._contents.clear()
            self.listed.clear()
            self._size = 0


_memory = _Memory()


class ObjectCache:
    """Reads small objects of *storage* that were not read before, and all others from their copies.

    :meth:`save` keeps what was read, and is called apart: reading may be done in another thread than the request's,
    and that one's connection may keep a SQLite file from being written by any other.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._fresh: list[CachedObject] = []
        self._is_silent = False  # the database of the table
        self._asked: set[str] = set()  # ids
        self._rows: dict[str, str] | None = None  # of the table: etag by id; None: not read
        self._place = sha256(storage.location.encode()).hexdigest()[:24]

    def read_many(self, objects: Iterable[StoredObject]) -> Iterator[Content]:
        """As :meth:`Storage.read_many`, in any order."""
        missing: dict[str, StoredObject] = {}
        for found in objects:
            number = self._id(found.key)
            self._asked.add(number)
            if content := _memory.get(number, _etag(found)):
                yield found.key, content
            else:
                missing[number] = found
        for number, content in self._read_table(missing):
            yield missing.pop(number).key, content
        yield from self._read_storage({found.key: found for found in missing.values()})

    def save(self) -> None:
        """Write the copies of what was read; remove those of what was not, after all that exist have been read."""
        current = frozenset(self._asked)
        rows = self._rows or {}
        gone = {*rows, *_memory.listed.get(self._place, ())} - current
        gone |= {copy.pk for copy in self._fresh if copy.pk in rows}  # written again, with another etag
        _memory.listed[self._place] = current
        if self._is_silent or not (self._fresh or gone):
            return
        with attempted("keep copies of manifests") as is_possible:
            if is_possible:
                with transaction.atomic(using=_alias()):  # a refusal must not end the transaction of the request
                    copies = CachedObject.objects.using(_alias())
                    for some in _chunks(sorted(gone)):
                        copies.filter(pk__in=some).delete()
                    copies.bulk_create(self._fresh, _AT_ONCE, ignore_conflicts=True)
        self._fresh = []

    def _id(self, key: str) -> str:
        return self._place + sha256(key.encode()).hexdigest()[:40]

    def _read_table(self, missing: dict[str, StoredObject]) -> list[tuple[str, bytes]]:
        """Return the contents of what is current in the table, by id; nothing where its database does not answer."""
        if not missing:
            return []
        query = closing_connections(partial(self._query, missing))
        found = InThread(query, "backup-copies").result(_PATIENCE, otherwise=None)
        self._is_silent = found is None
        return found or []

    def _query(self, missing: dict[str, StoredObject]) -> list[tuple[str, bytes]]:
        contents: list[tuple[str, bytes]] = []
        with attempted("read the copies of manifests") as is_possible:
            if not is_possible:
                return []
            copies = CachedObject.objects.using(_alias())
            if self._rows is None:
                self._rows = dict(copies.filter(pk__startswith=self._place).values_list("pk", "etag"))
            current = [number for number, found in missing.items() if self._rows.get(number) == (_etag(found) or None)]
            for some in _chunks(current):
                for row in copies.filter(pk__in=some):
                    if row.etag == _etag(missing[row.pk]):
                        contents.append((row.pk, bytes(row.content)))
                        _memory.put(row.pk, row.etag, bytes(row.content))
        return contents

    def _read_storage(self, wanted: dict[str, StoredObject]) -> Iterator[Content]:
        for key, content in self._storage.read_many(wanted):
            etag = _etag(wanted[key])
            if isinstance(content, bytes) and content and etag and len(content) <= _LARGEST:
                _memory.put(self._id(key), etag, content)
                copy = CachedObject(id=self._id(key), etag=etag, content=content, read_at=clock.now())
                self._fresh.append(copy)
            yield key, content


class CachedCatalog:
    """The catalog of all places of *project*, for which each object is read once."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._caches = {place.storage.location: ObjectCache(place.storage) for place in project.places}

    def read(self, patience: float | None = None) -> Catalog:
        """
        :param patience: seconds after which one of several places counts as away.
        """
        return read_places(self._project, None, lambda storage: self._caches[storage.location].read_many, patience)

    def save(self, catalog: Catalog) -> None:
        """Keep copies of what was read; not of a place that is away, which may still be read from."""
        for place in self._project.places:
            if place.name not in catalog.away:
                self._caches[place.storage.location].save()


def forget_copies() -> None:
    """Empty the memory of this process."""
    _memory.clear()


def _etag(found: StoredObject) -> str:
    """Return what identifies the content; empty if nothing does."""
    return found.etag if len(found.etag) <= _LONGEST_ETAG else ""


def _chunks(numbers: Sequence[str]) -> Iterator[Sequence[str]]:
    return (numbers[begin : begin + _AT_ONCE] for begin in range(0, len(numbers), _AT_ONCE))


def _alias() -> str:
    return router.db_for_write(CachedObject) or "default"
