"""Copies of manifests and proofs, in memory and in a table, so that a page costs one list of the storage.

The list says whether a copy is still the object: its etag changes with its content. Nothing is lost with the copies,
and nothing that restores or deletes uses them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from hashlib import sha256

from django.db import router

from django_cfg.backup.errors import StorageError
from django_cfg.backup.models import CachedObject
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.runs.history_database import attempted
from django_cfg.backup.storage.base import Storage, StoredObject

_MOST = 4_000  # objects in the memory of a process
_LARGEST = 1 << 20  # bytes of an object that is kept
_AT_ONCE = 200  # rows
Content = tuple[str, bytes | StorageError]
_in_memory: OrderedDict[tuple[str, str], bytes] = OrderedDict()  # by id and etag, the last used one last


class ObjectCache:
    """Reads small objects of *storage* that were not read before, and all others from their copies.

    :meth:`save` keeps what was read, and is called apart: reading may be done in another thread than the request's,
    and that one's connection may keep a SQLite file from being written by any other.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._fresh: list[CachedObject] = []
        self._gone: list[str] = []
        self._place = sha256(storage.location.encode()).hexdigest()[:24]

    def read_many(self, objects: Iterable[StoredObject]) -> Iterator[Content]:
        """As :meth:`Storage.read_many`, in any order."""
        wanted = {self._id(found.key): found for found in objects}
        missing = {number: found for number, found in wanted.items() if not self._recall(number, found)}
        if missing:
            self._read_table(missing)
        fresh = {found.key: number for number, found in missing.items() if not self._recall(number, found)}
        for number, found in wanted.items():
            if found.key not in fresh:
                yield found.key, self._recall(number, found)
        yield from self._read_storage({key: wanted[number] for key, number in fresh.items()})

    def save(self, keys: Iterable[str]) -> None:
        """Write the copies of what was read; remove those of other objects than *keys*, which all were listed."""
        if not self._fresh and not self._gone:
            return
        with attempted("keep copies of manifests") as is_possible:
            if not is_possible:
                return
            rows = CachedObject.objects.using(_alias())
            current = {self._id(key) for key in keys}
            stored = rows.filter(pk__startswith=self._place).values_list("pk", flat=True)
            gone = [*self._gone, *(number for number in stored if number not in current)]
            for some in _chunks(gone):
                rows.filter(pk__in=some).delete()
            rows.bulk_create(self._fresh, _AT_ONCE, ignore_conflicts=True)
        self._fresh, self._gone = [], []

    def _id(self, key: str) -> str:
        return self._place + sha256(key.encode()).hexdigest()[:40]

    def _recall(self, number: str, found: StoredObject) -> bytes:
        content = _in_memory.get((number, found.etag), b"") if found.etag else b""
        if content:
            _in_memory.move_to_end((number, found.etag))
        return content

    def _read_table(self, missing: dict[str, StoredObject]) -> None:
        """Take what is current into memory."""
        with attempted("read the copies of manifests") as is_possible:
            if not is_possible:
                return
            rows = CachedObject.objects.using(_alias())
            known = dict(rows.filter(pk__startswith=self._place).values_list("pk", "etag"))
            current = [number for number in missing if known.get(number) == missing[number].etag]
            for some in _chunks(current):
                for row in rows.filter(pk__in=some):
                    _remember(row.pk, row.etag, bytes(row.content))
            outdated = [number for number, found in missing.items() if known.get(number, found.etag) != found.etag]
            self._gone += outdated

    def _read_storage(self, wanted: dict[str, StoredObject]) -> Iterator[Content]:
        for key, content in self._storage.read_many(wanted):
            if isinstance(content, bytes) and content and wanted[key].etag and len(content) <= _LARGEST:
                _remember(self._id(key), wanted[key].etag, content)
                copy = CachedObject(id=self._id(key), etag=wanted[key].etag, content=content, read_at=clock.now())
                self._fresh.append(copy)
            yield key, content


def _remember(number: str, etag: str, content: bytes) -> None:
    _in_memory[number, etag] = content
    while len(_in_memory) > _MOST:
        _in_memory.popitem(last=False)


def _chunks(numbers: list[str]) -> Iterator[list[str]]:
    return (numbers[begin : begin + _AT_ONCE] for begin in range(0, len(numbers), _AT_ONCE))


def _alias() -> str:
    return router.db_for_write(CachedObject) or "default"
