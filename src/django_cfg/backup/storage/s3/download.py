"""Reading one object in ranges: each is asked for on its own, so that a connection may break and time may pass."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future

from django_cfg.backup.storage.s3.requests import Requests

_RANGE = 8 << 20  # bytes
_AHEAD = 2  # ranges under way while one is read


class Download:
    """The object *key* of *size* bytes, from its start to its end."""

    def __init__(self, requests: Requests, key: str, size: int) -> None:
        self._requests = requests
        self._key = key
        self._size = size
        self._asked = 0  # bytes
        self._coming: deque[Future[bytes]] = deque()
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(_RANGE), b""))
        if not self._rest:
            self._rest = memoryview(self._next())
        block = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        return block

    def _next(self) -> bytes:
        """The next range, or b"" at the end."""
        while self._asked < self._size and len(self._coming) <= _AHEAD:
            self._coming.append(self._ask())
        if not self._coming:
            return b""
        with self._requests.refused_as(f"read {self._key}"):
            return self._coming.popleft().result()

    def _ask(self) -> Future[bytes]:
        start, end = self._asked, min(self._asked + _RANGE, self._size)
        self._asked = end
        if end - start == self._size:  # some services answer that with 200, which obstore refuses
            return self._requests.wait.start(lambda: self._requests.fetching(self._key))
        return self._requests.wait.start(lambda: self._requests.fetching_range(self._key, start, end))
