"""A file as the answer to a request: begun within a few seconds, then sent block by block under WSGI and ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

from django_cfg.backup.services.monitoring.snapshot import PATIENCE, within


class StreamedFile(StreamingHttpResponse):
    """The archive *key*, of *size* bytes, to be saved.

    Of what a plain iterator yields, Django itself would collect everything in memory under ASGI.
    """

    def __init__(self, content: Iterator[bytes], key: str, size: int) -> None:
        super().__init__(content, content_type="application/octet-stream")
        self["Content-Disposition"] = content_disposition_header(True, key.rpartition("/")[2])
        self["Content-Length"] = str(size)
        self["X-Content-Type-Options"] = "nosniff"
        self["Cache-Control"] = "no-store"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = sync_to_async(partial(next, iter(self), None), thread_sensitive=False)  # no page waits for the storage
        while (block := await read()) is not None:
            yield block


def begin_soon(content: Iterator[bytes], what: str) -> Iterator[bytes]:
    """Read the beginning of *content* now, so that what is missing is found before the answer begins.

    :raises StorageError: it takes more than a few seconds.
    """
    first = within(PATIENCE, lambda: next(content, b""), what)

    def complete() -> Iterator[bytes]:
        yield first
        yield from content

    return complete()
