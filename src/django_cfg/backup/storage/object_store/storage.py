"""A bucket or container of any service that obstore knows, or the part of it below a prefix."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from django_cfg.backup.errors import StorageError
from django_cfg.backup.pipeline.stream import Readable, Writable
from django_cfg.backup.storage.base import Immutability, Storage, StoredObject, require_inside
from django_cfg.backup.storage.object_store.client import Client
from django_cfg.backup.storage.object_store.download import Download
from django_cfg.backup.storage.object_store.place import crosses_a_network_in_the_clear
from django_cfg.backup.storage.object_store.requests import Requests, requests_to
from django_cfg.backup.storage.object_store.upload import Upload

if TYPE_CHECKING:
    from obstore import ObjectMeta

_AT_ONCE = 16  # small objects read concurrently


class ObjectStorage(Storage):
    """Objects below the prefix of *client*'s place. Nothing is asked of the service before the first use.

    What is being written is no object before it is complete, and cannot be seen. A name is looked at before an
    upload and again before its end. Objects of one part, so every manifest, pin and proof, are created on condition
    that the name is free; between the look and the end of a larger one another may come, by milliseconds. So the key
    of each archive has a part that no other has (:meth:`new_infix`).

    Nothing is ever ``abandoned`` here: obstore lists no unfinished uploads. The bucket's lifecycle rule removes them.
    """

    def __init__(self, client: Client) -> None:
        self.place = client.place
        self._client = client

    @property
    def location(self) -> str:
        return self.place.location

    @property
    def identity(self) -> tuple[str, str]:
        return self.place.identity, self.place.prefix

    @property
    def sends_in_the_clear(self) -> bool:
        return crosses_a_network_in_the_clear(self.place.endpoint)

    def immutability(self) -> Immutability | None:
        return self._client.immutability()

    @contextmanager
    def publish(self, key: str, *, expected_size: int = 0) -> Iterator[Writable]:
        with self._requests_for(key) as requests:
            requests.require_free(key)
            requests.require_lock(key)
            upload = Upload(requests, key, expected_size)
            try:
                yield upload
                upload.finish()
            except BaseException:
                upload.abort()
                raise
            requests.lock(key)

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        with self._requests_for(key) as requests:
            if requests.find(key) is None:
                raise StorageError(f"{key} is missing in {self.location}.")
            yield Download(requests, key)

    def new_infix(self) -> str:
        """Return eight random digits: of two uploads to one key, the second to end would replace the first."""
        return f".{secrets.token_hex(4)}"

    def stat(self, key: str) -> StoredObject | None:
        with self._requests_for(key) as requests:
            found = requests.find(key)
        return self._object(found) if found else None

    def list(self) -> Iterator[StoredObject]:
        with requests_to(self._client) as requests:
            for page in requests.pages():
                yield from map(self._object, page)

    def delete(self, key: str) -> None:
        with self._requests_for(key) as requests:
            requests.delete(key)

    def is_taken(self, name: str) -> bool:
        """Objects that are being written cannot be seen."""
        folder, beginning = name.rpartition("/")[0], f"{self.place.prefix}{name}."
        with self._requests_for(name) as requests:
            # Services list in the order of keys; should one not, more is looked at, and none is missed.
            return any(
                found["path"].startswith(beginning)
                for page in requests.pages(folder, after=f"{name}.")
                for found in page
            )

    def read_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | StorageError]]:
        """In the order of *keys*, several requests at once."""
        with requests_to(self._client) as requests:
            todo = iter(keys)
            coming = deque(_asked(requests, islice(todo, _AT_ONCE - 1)))  # one more is asked soon
            while coming:
                key, future = coming.popleft()
                coming.extend(_asked(requests, islice(todo, 1)))
                yield key, self._answer(requests, key, future)

    def _answer(self, requests: Requests, key: str, future: Future[bytes]) -> bytes | StorageError:
        try:
            with requests.refused_as(f"read {key}"):
                return future.result()
        except StorageError as error:
            return error

    @contextmanager
    def _requests_for(self, key: str) -> Iterator[Requests]:
        require_inside(key, self.location)
        with requests_to(self._client) as requests:
            yield requests

    def _object(self, found: ObjectMeta) -> StoredObject:
        modified = found["last_modified"].replace(microsecond=0)  # HEAD knows seconds only
        etag = (found.get("e_tag") or "").strip('"')  # quoted by some in HEAD alone
        return StoredObject(found["path"].removeprefix(self.place.prefix), found["size"], modified, etag)


def _asked(requests: Requests, keys: Iterable[str]) -> Iterator[tuple[str, Future[bytes]]]:
    for key in keys:
        require_inside(key, requests.place.location)
        yield key, requests.wait.start(lambda key=key: requests.fetching(key))  # type: ignore[misc]
