"""The ways a stream gets compressed, each forced by what the machine seems to have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.pipeline import compression, gzip_member
from tests.support import needs


@dataclass(frozen=True)
class Way:
    """A compression method and what does it: a program on the PATH, isal, zstd, or the standard library."""

    method: Compression
    by: str

    def __str__(self) -> str:
        return f"{self.method}-{self.by}"

    def force(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the machine have what this way needs and nothing better."""
        if self.by != "isal":
            monkeypatch.setattr(compression, "igzip_threaded", None)
            monkeypatch.setattr(compression, "compress_member", gzip_member._by_zlib)
        path = folder / "path"
        path.mkdir()
        if self.by in PROGRAMS:
            (path / self.by).symlink_to(needs.program(self.by))
        monkeypatch.setenv("PATH", str(path))


PROGRAMS = ("lbzip2", "pbzip2", "xz")
WAYS = [
    Way("gzip", "isal"),
    Way("gzip", "library"),
    Way("bz2", "lbzip2"),
    Way("bz2", "pbzip2"),
    Way("bz2", "library"),
    Way("xz", "xz"),
    Way("xz", "library"),
    Way("zstd", "zstd library"),
    Way("none", "no writer"),
]
every_way: Any = pytest.mark.parametrize("way", WAYS, ids=str)
