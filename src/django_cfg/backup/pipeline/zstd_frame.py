"""Zstandard (RFC 8878), by Python's own module from 3.14 on and by its backport before: a frame from a block, and a
reader of frames.

Frames carry their size and a checksum of their content. Measured on the rows of benchmarks/, in turns with gzip_member,
processor time and bytes as ratios to it:

======================  ====  ====
level 1                 1.30  0.96
level 2                 1.60  0.91
level 2, window 256 KB  1.40  0.91
level 3                 2.05  0.89
======================  ====  ====

The library's own threads (nb_workers) take twice the memory and no less processor time, and their priority cannot be
lowered.
"""

from __future__ import annotations

import sys
import threading
from functools import cache
from importlib import import_module
from typing import Any

from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.pipeline.stream import Readable
from django_cfg.backup.process.pipes import BLOCK

_LEVEL = 2
_WINDOW_LOG = 18  # 256 KB, which stays in a processor's cache
_WIDEST_WINDOW_LOG = 23  # of what is read: 8 MB, which RFC 8878 (3.1.1.1.2) expects of every reader
_STEP = 1 << 16  # bytes of the compressed stream that are read at once; more is slower
_of_thread = threading.local()


@cache
def zstd_library() -> Any:
    """Return the module, ``compression.zstd`` or ``backports.zstd``, which have one interface.

    :raises ConfigurationError: it is not installed.
    """
    in_python = sys.version_info >= (3, 14)
    try:
        return import_module("compression.zstd" if in_python else "backports.zstd")
    except ImportError:
        raise ConfigurationError(
            "zstd is not available: this Python was built without its module compression.zstd. Use a Python that has "
            "it. An archive can be unpacked with the program: zstd -dc."
            if in_python
            else "zstd needs backports.zstd: pip install 'django-cfg-backup[zstd]'. An archive can be unpacked with "
            "the program, too: zstd -dc."
        ) from None


def compress_frame(block: bytes) -> bytes:
    """Return *block* as a frame. A thread keeps its compressor: a new one each time takes 1.05 times as long."""
    compressor = getattr(_of_thread, "compressor", None)
    if compressor is None:
        compressor = _of_thread.compressor = _new_compressor()
    return bytes(compressor.compress(block, compressor.FLUSH_FRAME))


def _new_compressor() -> Any:
    zstd = zstd_library()
    parameter = zstd.CompressionParameter
    return zstd.ZstdCompressor(
        options={parameter.compression_level: _LEVEL, parameter.window_log: _WINDOW_LOG, parameter.checksum_flag: 1}
    )


class ZstdReader:
    """A reader of the plain bytes of all frames of *source*, in memory that no frame can enlarge."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._zstd = zstd_library()
        # One for all frames: the library before Python 3.14.5 keeps a reference to each.
        self._options = {self._zstd.DecompressionParameter.window_log_max: _WIDEST_WINDOW_LOG}
        self._frame = self._new_frame()

    def read(self, size: int = -1) -> bytes:
        """
        :raises EOFError: *source* ends within a frame.
        :raises ValueError: it is damaged, or asks for a larger window.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        while size and (compressed := self._next_bytes()) is not None:
            try:
                block = bytes(self._frame.decompress(compressed, size))
            except self._zstd.ZstdError as error:
                raise ValueError(str(error)) from error
            if block:
                return block
        return b""

    def _next_bytes(self) -> bytes | None:
        """What the decompressor takes next, which is nothing while it holds some; None at the end of *source*."""
        if self._frame.eof:
            begun = self._frame.unused_data or self._source.read(_STEP)
            if not begun:
                return None
            self._frame = self._new_frame()
            return bytes(begun)
        if not self._frame.needs_input:
            return b""
        if compressed := self._source.read(_STEP):
            return compressed
        raise EOFError("it ends within a frame")

    def _new_frame(self) -> Any:
        return self._zstd.ZstdDecompressor(options=self._options)
