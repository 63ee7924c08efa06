"""Child processes: each in a group of its own, none left behind, none whose failure goes unseen."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from django_cfg.backup.errors import ToolFailed, ToolNotFound, ToolTimedOut
from django_cfg.backup.process import pipes
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.process.environment import child_environment
from django_cfg.backup.process.redaction import redact
from django_cfg.backup.process.threads import start_thread
from django_cfg.backup.process.watchdog import Watchdog

_LAST_WORDS = 20  # lines of stderr kept for the message


class Child:
    """A program that runs in parallel with this process. Leaving the block kills it if it is alive, with its process
    group; so does the death of this process.

    The group of its own also keeps a terminal's Ctrl-C from reaching the program before us: we end it.

    :param secrets: what was passed to the program in confidence; it is removed from the last lines of stderr.
    :param said: turns the last lines of stderr into what a message may hold.
    :param lines: that many of them are kept.
    :param limit: seconds after which it is killed; None: never.
    :raises ToolNotFound: the program is not installed.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        feed: bool = False,
        pass_fds: Sequence[int] = (),
        secrets: Sequence[str] = (),
        said: Callable[[str], str] = str,
        lines: int = _LAST_WORDS,
        limit: int | None = None,
    ) -> None:
        self._tool = Path(argv[0]).name
        self._secrets, self._said = secrets, said
        self._stderr: deque[bytes] = deque(maxlen=lines)
        self._limit, self._is_over_limit = limit, False
        self._timer = threading.Timer(limit, self._end_by_limit) if limit else None
        with ExitStack() as unheld:  # nothing else holds the program yet
            with defer_signals():  # a signal finds a program that can be ended, or none
                self._process = _started(argv, env, pass_fds, feed=feed)
                self._attend()
                unheld.push(self)
            unheld.pop_all()

    def _attend(self) -> None:
        try:
            if self._process.stdin:
                pipes.widen_pipe(self._process.stdin)
            self._process.stdout = pipes.open_reader(self.stdout)
            self._guard = Watchdog(self._process.pid)
            self._listener = start_thread(self._listen, f"{self._tool}-stderr")
            if self._timer:
                self._timer.daemon = True
                self._timer.start()
        except BaseException:
            self.kill()
            self._process.wait()
            self._close_pipes()
            raise

    @property
    def stdin(self) -> IO[bytes]:
        return cast(IO[bytes], self._process.stdin)

    @property
    def stdout(self) -> IO[bytes]:
        return cast(IO[bytes], self._process.stdout)

    def wait(self) -> None:
        """Wait for the end.

        :raises ToolFailed: any exit code but 0.
        :raises ToolTimedOut: it was killed at its limit.
        """
        code = self._process.wait()
        if code != 0:
            self.kill()  # what it has started, which may go on for long and holds its stderr
        self._listener.join()
        if self._is_over_limit and code < 0 and self._limit:
            raise ToolTimedOut(self._tool, self._limit)
        if code != 0:
            raise ToolFailed(self._tool, code, self.last_words)

    @property
    def last_words(self) -> str:
        text = self._said(b"\n".join(self._stderr).decode(errors="replace").strip())
        return redact(text, self._secrets)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or self._process.poll() is None:
            self.kill()
        self._process.wait()
        if self._timer:
            self._timer.cancel()
            self._timer.join()
        self._guard.dismiss()
        self._listener.join()
        self._close_pipes()

    def kill(self) -> None:
        """The program and its children; they may live on, holding our pipes, when it has ended."""
        with suppress(ProcessLookupError, PermissionError):  # they are gone, or another user's (sudo)
            os.killpg(self._process.pid, signal.SIGKILL)

    def _end_by_limit(self) -> None:
        if self._process.poll() is None:
            self._is_over_limit = True
            self.kill()

    def _close_pipes(self) -> None:
        for end in (self._process.stdin, self._process.stdout, self._process.stderr):
            if end:
                _close(end)

    def _listen(self) -> None:
        for line in cast(IO[bytes], self._process.stderr):
            self._stderr.append(line.rstrip(b"\n"))


def _started(
    argv: Sequence[str], env: Mapping[str, str] | None, pass_fds: Sequence[int], *, feed: bool
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            env=child_environment() if env is None else env,
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except FileNotFoundError:
        raise ToolNotFound(f"{argv[0]} is not installed, or not on the PATH of this process.") from None
    except OSError as error:
        raise ToolNotFound(f"{argv[0]} cannot be started: {error.strerror}.") from error


class Feeder:
    """Feeds a program from a thread of its own. Its error is raised at the end of the block, before any other:
    it is the cause, and what the program made of it the consequence.

    :param to_the_end: read on when the program wants no more, for the checks at the stream's end.
    """

    def __init__(self, blocks: Iterator[bytes], *, to_the_end: bool) -> None:
        self._blocks = blocks
        self._to_the_end = to_the_end
        self._stopped = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self, sink: IO[bytes]) -> None:
        self._thread = start_thread(partial(self._feed, sink), "feeder")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = kind is not None
        self.finish()

    def finish(self) -> None:
        """Wait until all is fed, and read where that was asked for; raise what went wrong."""
        if self._thread:
            self._thread.join()
        if self._error:
            raise self._error from None

    def _feed(self, sink: IO[bytes]) -> None:
        try:
            try:
                for block in self._blocks:
                    if not _taken(sink, block):
                        break
            finally:
                _close(sink)  # else the program waits for more
            while self._to_the_end and not self._stopped and next(self._blocks, None):
                pass
        except BaseException as error:  # noqa: BLE001  carried to the thread that leaves the block
            self._error = error


def _taken(sink: IO[bytes], block: bytes) -> bool:
    try:
        sink.write(block)
    except (BrokenPipeError, ValueError):  # the program is gone; its pipe may be closed already
        return False
    return True


def _close(end: IO[bytes]) -> None:
    with suppress(BrokenPipeError):  # unwritten bytes for a program that is gone
        end.close()
