"""A program in the middle of the stream: gpg, xz, lbzip2."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from django_cfg.backup.pipeline.stream import Writable
from django_cfg.backup.process.child import Child
from django_cfg.backup.process.pipes import BLOCK
from django_cfg.backup.process.threads import start_thread


class Filter:
    """Writes through a program into *sink*: what it prints arrives there from a thread of its own.

    Leaving the block normally waits for the program's last byte; leaving it by an exception kills it.

    :raises ToolFailed: the program failed.
    """

    def __init__(
        self, argv: Sequence[str], sink: Writable, *, pass_fds: Sequence[int] = (), secrets: Sequence[str] = ()
    ) -> None:
        self._child = Child(argv, feed=True, pass_fds=pass_fds, secrets=secrets)
        self._sink = sink
        self._sink_error: BaseException | None = None
        try:
            self._drain = start_thread(self._pass_on, "filter")
        except BaseException:
            with self._child:
                raise

    def write(self, block: bytes) -> int:
        try:
            return self._child.stdin.write(block)
        except BrokenPipeError:
            self._finish()  # the program died: its own words say more than a broken pipe
            raise

    def flush(self) -> None:
        """Compressors flush what they write to; the program gets its bytes when it is left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._child:
            if kind is None:
                self._close_input()
                self._finish()
        self._drain.join()

    def _close_input(self) -> None:
        with suppress(BrokenPipeError):  # the exit code decides
            self._child.stdin.close()

    def _finish(self) -> None:
        self._drain.join()
        if self._sink_error:
            raise self._sink_error
        self._child.wait()

    def _pass_on(self) -> None:
        try:
            while block := self._child.stdout.read(BLOCK):
                self._sink.write(block)
        except BaseException as error:  # noqa: BLE001  carried to the thread that writes
            self._sink_error = error
            self._child.stdout.close()  # the program meets a broken pipe and ends
