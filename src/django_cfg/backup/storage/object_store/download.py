"""Reading one object as it comes.

In one request: some services answer a range wrongly (seen: 200 instead of 206). When the connection breaks,
obstore asks for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_cfg.backup.process.pipes import BLOCK
from django_cfg.backup.storage.object_store.requests import Requests

if TYPE_CHECKING:
    from obstore import BytesStream


class Download:
    """The object *key*, from its start to its end."""

    def __init__(self, requests: Requests, key: str) -> None:
        self._requests = requests
        self._key = key
        self._stream: BytesStream = requests.do(f"read {key}", lambda: requests.streaming(key))
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        if not self._rest:
            self._rest = memoryview(self._next())
        block = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        return block

    def _next(self) -> bytes:
        async def block() -> bytes:
            async for found in self._stream:
                return bytes(found)
            return b""

        return self._requests.do(f"read {self._key}", block)
