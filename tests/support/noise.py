"""Something to upload that does not compress."""

from __future__ import annotations

import random

from django_cfg.backup.process.pipes import BLOCK


class Noise:
    """A dump of *size* bytes, without end by default."""

    def __init__(self, size: int = 1 << 60) -> None:
        self._left = size
        self._blocks = [random.Random(number).randbytes(BLOCK) for number in range(2)]

    def read(self, size: int = -1) -> bytes:
        block = self._blocks[self._left % 2][: self._left]
        self._left -= len(block)
        return block
