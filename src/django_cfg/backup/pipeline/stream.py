"""The pump: reads blocks, counts and hashes them, hands them on."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.process.pipes import BLOCK

CHECKPOINT = 4 << 20  # bytes between two checkpoints: 8 MB of them for 1 TB
OnProgress = Callable[[int], None]  # called with the number of bytes just moved
Checkpoints = tuple[bytes, ...]  # the running SHA-256 of a stream after each CHECKPOINT bytes, and at its end


class Readable(Protocol):
    """A plain stream of bytes: b"" is the end."""

    def read(self, size: int = -1, /) -> bytes: ...


class Writable(Protocol):
    def write(self, block: bytes, /) -> int: ...


@runtime_checkable
class Interruptible(Protocol):
    """A sink whose ``write`` may wait for long, for a network."""

    def interrupt(self) -> None:
        """End a ``write`` that waits in another thread."""


@dataclass(frozen=True)
class Digest:
    """What passed: its length in bytes and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


class StreamHash:
    """Counts and hashes what passes."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()
        self._checkpoints: list[bytes] = []

    def add(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            piece = rest[: CHECKPOINT - self.size % CHECKPOINT]
            self._hash.update(piece)
            self.size += len(piece)
            if self.size % CHECKPOINT == 0:
                self._checkpoints.append(self._hash.digest())
            rest = rest[len(piece) :]

    @property
    def digest(self) -> Digest:
        return Digest(self.size, self._hash.hexdigest())

    @property
    def checkpoints(self) -> Checkpoints:
        """What a second pass over the same bytes can be compared with, piece by piece."""
        at_the_end = [self._hash.digest()] if self.size % CHECKPOINT else []
        return tuple(self._checkpoints + at_the_end)


class HashingWriter(StreamHash):
    """A tally on the way into *sink*."""

    def __init__(self, sink: Writable) -> None:
        super().__init__()
        self._sink = sink

    def write(self, block: bytes) -> int:
        self.add(block)
        return self._sink.write(block)


class Reader(ABC):
    """A stream that is read, also as some decompressors do."""

    @abstractmethod
    def read(self, size: int = -1) -> bytes: ...

    def readinto(self, buffer: bytearray | memoryview) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


class HashingReader(StreamHash, Reader):
    """A tally on the way out of *source*."""

    def __init__(self, source: Readable, advance: OnProgress | None = None) -> None:
        super().__init__()
        self._source = source
        self._advance = advance

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(size)
        self.add(block)
        if self._advance:
            self._advance(len(block))
        return block


class CheckpointReader(HashingReader):
    """A reader of *source* that hands out bytes only after they have been compared with *checkpoints*.

    :raises VerificationFailed: from ``read``: *source* is not what it was when the checkpoints were taken.
    """

    def __init__(self, source: Readable, checkpoints: Checkpoints, advance: OnProgress | None = None) -> None:
        super().__init__(source, advance)
        self._expected = iter(checkpoints)
        self._compared: deque[memoryview] = deque()

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        if not self._compared and size:
            self._compared.extend(map(memoryview, self._read_piece()))
        if not self._compared or not size:
            return b""
        block = self._compared.popleft()
        if len(block) > size:
            self._compared.appendleft(block[size:])
        return bytes(block[:size])

    def _read_piece(self) -> list[bytes]:
        pieces: list[bytes] = []
        while (missing := CHECKPOINT - sum(map(len, pieces))) and (block := super().read(min(missing, BLOCK))):
            pieces.append(block)
        if next(self._expected, None) != (self._hash.digest() if pieces else None):
            raise VerificationFailed(
                "The archive changed while it was restored: it is not what was read and checked before. Something "
                "else writes to this storage. Find out what, and use another backup."
            )
        return pieces


class CheckedReader(Reader):
    """A reader of *source* that reports the end only after *check* has passed."""

    def __init__(self, source: Readable, check: Callable[[], None]) -> None:
        self._source = source
        self._check = check

    def read(self, size: int = -1) -> bytes:
        """
        :raises BackupError: at the end, what *check* raises.
        """
        block = self._source.read(size)
        if not block and size != 0:
            self._check()
        return block


class PeekableReader(Reader):
    """A reader of *source* whose beginning can be looked at before it is read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """Return the next *size* bytes, fewer at the end; they are read again afterwards."""
        while len(self._ahead) < size and (block := self._source.read(size - len(self._ahead))):
            self._ahead += block
        return self._ahead[:size]

    def give_back(self, data: bytes) -> None:
        """Let *data*, which was read last, be read again."""
        self._ahead = data + self._ahead

    def read(self, size: int = -1) -> bytes:
        if not self._ahead:
            return self._source.read(size)
        end = len(self._ahead) if size < 0 else size
        block, self._ahead = self._ahead[:end], self._ahead[end:]
        return block + self._source.read() if size < 0 else block


def blocks(source: Readable) -> Iterator[bytes]:
    """*source* to its end."""
    while block := source.read(BLOCK):
        yield block


def pump(source: Readable, sink: Writable) -> None:
    """Move *source* to its end into *sink*."""
    for block in blocks(source):
        sink.write(block)


@contextmanager
def interrupt_on_error(sink: Writable) -> Iterator[None]:
    """When the block fails, nothing waits for *sink* any more. Compressors write from threads of their own, and wait
    for these when they are left."""
    try:
        yield
    except BaseException:
        if isinstance(sink, Interruptible):
            sink.interrupt()
        raise


def drain(source: Readable) -> None:
    """Read *source* to its end, for the checks that happen on the way."""
    for _ in blocks(source):
        pass
