"""Where a command writes: a stream that may be closed, full, or read by a program that has ended."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TextIO


class LastingOutput:
    """*stream*, whose failures do not end the work that writes to it: a restore does not stop for a closed terminal.

    :ivar error: why what was written is lost; None if nothing was, or if there is no stream, or no reader any more.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except ValueError:  # it has been closed
                self._stream = None
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Nothing waits here."""

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def _give_up(self, error: OSError) -> None:
        stream, self._stream = self._stream, None
        if error.errno != errno.EPIPE:
            self.error = error
        with suppress(OSError, ValueError, AttributeError):  # what Python still holds is written at exit, to nowhere
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
            os.close(nowhere)
