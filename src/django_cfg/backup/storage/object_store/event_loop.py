"""Waiting for obstore's coroutines, from any thread, in a way that a signal can end.

obstore's own blocking calls would hold a signal's exception back until the request is over, which on a line
that has gone dead takes minutes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import ClassVar, TypeVar

from django_cfg.backup.errors import StorageError
from django_cfg.backup.process.deferred_signals import defer_signals
from django_cfg.backup.process.threads import start_thread
from django_cfg.backup.storage.object_store import interpreter_exit

_T = TypeVar("_T")


class RequestLoop:
    """An event loop in a thread of its own.

    :raises StorageError: this process was forked from one that had used obstore, whose threads are missing in it: every
        request would wait for them for ever.
    """

    _user: ClassVar[int | None] = None  # the process that has used obstore

    def __init__(self) -> None:
        if self._user not in (None, os.getpid()):
            raise StorageError(
                "The storage cannot be used in a process forked from one that has used S3, Google Cloud Storage or "
                "Azure already. Use it in the child only, or start the child as a new process (spawn)."
            )
        RequestLoop._user = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = start_thread(self._loop.run_forever, "object-store")

    def start(self, call: Callable[[], Awaitable[_T]]) -> Future[_T]:
        """Start it; the future's ``result`` waits for its end."""

        async def called() -> _T:
            return await call()

        with defer_signals():  # a signal finds a request that can be ended, or none
            return asyncio.run_coroutine_threadsafe(called(), self._loop)

    def until(self, call: Callable[[], Awaitable[_T]], seconds: float | None = None) -> _T:
        """Return its result. To stop waiting for it is to end it, too.

        :raises TimeoutError: it took longer than *seconds*.
        """
        future = self.start(call)
        try:
            return future.result(seconds)
        except BaseException:
            future.cancel()
            raise

    def cancel(self) -> None:
        """End everything that goes on; who waits for it gets a CancelledError."""
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()

    def close(self) -> None:
        self.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
        interpreter_exit.cancelled()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def request_loop() -> Iterator[RequestLoop]:
    wait = RequestLoop()
    try:
        yield wait
    finally:
        wait.close()
