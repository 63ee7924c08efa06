"""The requests that one operation makes, each answered, or refused in our words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

import obstore
from obstore.exceptions import InvalidPathError

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.process.pipes import BLOCK
from django_cfg.backup.storage.object_store.client import Client
from django_cfg.backup.storage.object_store.errors import REFUSED, says_why
from django_cfg.backup.storage.object_store.event_loop import RequestLoop, request_loop
from django_cfg.backup.storage.object_store.interpreter_exit import lend

if TYPE_CHECKING:
    from obstore import AsyncWritableFile, BytesStream, ObjectMeta

_T = TypeVar("_T")
_PAGE = 1_000  # objects that a service lists at once


class Requests:
    """To the objects of *client*'s place, by their keys below the prefix."""

    def __init__(self, client: Client, wait: RequestLoop) -> None:
        self.wait = wait
        self.place = client.place
        self._client = client

    def do(self, doing: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """The answer to *call*.

        :raises StorageError: it was refused, or none came.
        """
        with self.refused_as(doing):
            return self.wait.until(call)

    @contextmanager
    def refused_as(self, doing: str, but: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        """Raise what obstore raises in the block as one of our errors, except *but*."""
        try:
            yield
        except but:
            raise
        except CancelledError:
            raise StorageError(f"Could not {doing}, in {self.place.location}: it was given up.") from None
        except REFUSED as error:
            raise self.storage_error(error, doing) from None

    def storage_error(self, error: BaseException, doing: str) -> StorageError:
        """*error* of obstore as one of ours. Raise it ``from None``."""
        return self._client.storage_error(error, doing)

    def find(self, key: str) -> ObjectMeta | None:
        """Return the object *key*; None: there is none."""
        with self.refused_as(f"look at {key}"):
            try:
                return self.wait.until(lambda: obstore.head_async(self._client.requests, self._path(key)))
            except FileNotFoundError:  # or the bucket is: this answer does not say
                self._client.once(self._look_around)
                return None
            except REFUSED as error:
                if not says_why(error):
                    self._look_around()
                raise

    def require_free(self, key: str) -> None:
        """
        :raises NameTaken: there is an object *key*.
        """
        if self.find(key) is not None:
            raise NameTaken.of(key, self.place.location)

    def pages(self, folder: str = "", after: str = "") -> Iterator[Sequence[ObjectMeta]]:
        """All objects below *folder*, or those whose key is greater than *after*; their ``path`` is the full one.

        Where a key is no path, pages may come twice, and may hold what is not greater than *after*.
        """
        prefix = self._path(folder).rstrip("/")
        try:
            yield from self._pages(prefix, after)
        except InvalidPathError as error:
            with self.refused_as("list the objects"):
                yield from self._client.pages_despite(error, f"{prefix}/" if prefix else "")

    def _pages(self, prefix: str, after: str) -> Iterator[Sequence[ObjectMeta]]:
        offset = self._path(after) if after else None
        stream = obstore.list(self._client.requests, prefix or None, offset=offset, chunk_size=_PAGE)

        async def page() -> Sequence[ObjectMeta]:
            async for found in stream:
                return found
            return []

        while found := self._page(page):
            yield found

    def _page(self, call: Callable[[], Awaitable[_T]]) -> _T:
        with self.refused_as("list the objects", but=InvalidPathError):
            return self.wait.until(call)

    def fetch(self, key: str) -> bytes:
        """Return the content of a small object."""
        return self.do(f"read {key}", lambda: self.fetching(key))

    async def fetching(self, key: str) -> bytes:
        answer = await obstore.get_async(self._client.requests, self._path(key))
        return (await answer.bytes_async()).to_bytes()

    async def streaming(self, key: str) -> BytesStream:
        """The content in blocks."""
        answer = await obstore.get_async(self._client.streams, self._path(key))
        return answer.stream(min_chunk_size=BLOCK)

    async def putting(self, key: str, data: bytes, *, new: bool) -> None:
        """Write a small object; *new*: only if the service sees none under *key*. Not every service looks."""
        mode: Literal["create", "overwrite"] = "create" if new else "overwrite"
        await obstore.put_async(
            self._client.parts,
            self._path(key),
            lend(data),
            mode=mode,
            use_multipart=False,
            **self._client.sent_with(key),
        )

    def delete(self, key: str) -> None:
        """One that is gone already is no error."""
        with self.refused_as(f"delete {key}"):
            try:
                self.wait.until(lambda: obstore.delete_async(self._client.requests, self._path(key)))
            except FileNotFoundError:  # or the bucket is: not every answer says
                self._client.once(self._look_around)

    def require_lock(self, key: str) -> None:
        """
        :raises StorageError: *key* is to be locked, and the bucket cannot.
        """
        self._client.require_lock(key)

    def lock(self, key: str) -> None:
        """Lock an object that was stored, if the configuration says so.

        :raises StorageError: it could not be locked, and was deleted again.
        """
        try:
            self._client.lock(key)
        except BaseException:
            self.delete(key)
            raise

    def open_writer(self, key: str, part_size: int, at_once: int) -> AsyncWritableFile:
        """A writer that begins a multipart upload as soon as it is given a part's worth."""
        return obstore.open_writer_async(
            self._client.parts,
            self._path(key),
            buffer_size=part_size,
            max_concurrency=at_once,
            **self._client.sent_with(key),
        )

    def _path(self, key: str) -> str:
        return f"{self.place.prefix}{key}"

    def _look_around(self) -> None:
        """Ask for the beginning of a list: refusing that is explained, and an answer to HEAD has no room for it."""
        next(self.pages(), None)


@contextmanager
def requests_to(client: Client) -> Iterator[Requests]:
    with request_loop() as wait:
        yield Requests(client, wait)
