"""The exit of a process that has used S3: in order, and with the right exit code."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import importlib.util
import signal
import subprocess
import sys
import threading
from typing import Any

import obstore
import pytest

from django_cfg.backup.storage.object_store import interpreter_exit
from django_cfg.backup.storage.object_store.event_loop import request_loop
from tests.support.faulty_s3_proxy import FaultyProxy
from tests.support.processes import wait_until
from tests.support.s3_server import S3Server

UPLOAD = """
from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.pipeline.archive import pack
from django_cfg.backup.storage import open_storage
from tests.support.noise import Noise
with open_storage(BackupStorageConfig(**{parameters!r}), None).publish({key!r}) as sink:
    pack(Noise({size}), sink, "gzip")
"""


def start(parameters: dict[str, object], key: str, size: int) -> subprocess.Popen[str]:
    script = UPLOAD.format(parameters=parameters, key=key, size=size)
    return subprocess.Popen([sys.executable, "-W", "error", "-c", script], stderr=subprocess.PIPE, text=True)


def test_a_signal_does_not_come_between_a_request_and_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would leave a coroutine that is never awaited."""
    begin, arrived = asyncio.run_coroutine_threadsafe, threading.Event()

    def signalled(coroutine: Any, loop: asyncio.AbstractEventLoop) -> Any:
        signal.raise_signal(signal.SIGINT)
        return begin(coroutine, loop)

    async def arrive() -> None:
        arrived.set()

    with request_loop() as wait:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "run_coroutine_threadsafe", signalled)
            with pytest.raises(KeyboardInterrupt):
                wait.start(arrive)
        assert arrived.wait(20)


def test_uploads_that_end_with_the_process_end_with_0(s3_server: S3Server, bucket: str) -> None:
    """One in twenty used to be aborted by a thread of obstore that called into an ending interpreter."""
    processes = [start(s3_server.parameters(bucket), f"{number}.gz", number * 2_000_000) for number in range(6)]
    errors = [process.communicate()[1] for process in processes]
    assert [(process.returncode, error) for process, error in zip(processes, errors, strict=True)] == [(0, "")] * 6
    assert len(s3_server.files(bucket)) == 6


def test_an_interrupted_upload_ends_as_interrupted(s3_server: S3Server, bucket: str, proxy: FaultyProxy) -> None:
    """Also on a dead connection: soon, with nothing left, and with the exit code of its own signal."""
    proxy.every("UploadPart", proxy.hold)
    with start({**s3_server.parameters(bucket), "s3_endpoint_url": proxy.endpoint}, "shop.gz", 1 << 40) as process:
        wait_until(lambda: "UploadPart" in proxy.seen)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert "AbortMultipartUpload" in proxy.seen
    assert s3_server.files(bucket) == []


def test_the_exit_waits_for_borrowed_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter_exit, "_has_cancelled", threading.Event())
    monkeypatch.setattr(interpreter_exit, "_PATIENCE", 60)
    borrowed = [obstore.Bytes(interpreter_exit.lend(b"a block"))]
    ending = threading.Thread(target=interpreter_exit._leave)
    ending.start()
    ending.join(0.2)
    assert ending.is_alive()
    borrowed.clear()
    ending.join(20)
    assert not ending.is_alive()


def test_threads_from_before_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may run threads that Python does not know."""
    over, begun = threading.Event(), threading.Event()

    def live() -> None:
        begun.set()
        over.wait(60)

    ident = _thread.start_new_thread(live, ())
    try:
        assert begun.wait(20)
        fresh = importlib.util.module_from_spec(importlib.util.find_spec(interpreter_exit.__name__))
        fresh.__spec__.loader.exec_module(fresh)
        atexit.unregister(fresh._leave)
        assert ident in fresh._in_python()
        monkeypatch.setattr(fresh, "_PATIENCE", 60)
        ending = threading.Thread(target=fresh._leave)
        ending.start()
        ending.join(20)
        assert not ending.is_alive()
    finally:
        over.set()


def test_the_exit_waits_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter_exit, "_PATIENCE", 0.05)
    borrowed = [obstore.Bytes(interpreter_exit.lend(b"a block"))]
    interpreter_exit._leave()
    borrowed.clear()


def test_a_child_forked_after_the_first_use_gets_an_error(s3_server: S3Server, bucket: str) -> None:
    """It would block forever. A parent that has not used S3 may fork, as RQ and Celery do."""
    script = f"""
import os, sys
from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage import open_storage
storage = open_storage(BackupStorageConfig(**{s3_server.parameters(bucket)!r}), None)

def forked():
    if os.fork():
        return os.waitstatus_to_exitcode(os.wait()[1])
    try:
        list(storage.list())
    except StorageError as error:
        os._exit(7 if "forked" in str(error) else 8)
    os._exit(0)

print(forked())
list(storage.list())
print(forked())
"""
    # Python 3.12 and newer warn of such a fork; the test shows what happens if it is done all the same.
    argv = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["0", "7"], "", 0)
