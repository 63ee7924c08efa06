"""A thread that ends before it begins is started again: nothing takes its silence for success."""

from __future__ import annotations

import io
import threading

import pytest

from django_cfg.backup.errors import BackupError
from django_cfg.backup.pipeline.filter import Filter
from django_cfg.backup.process.child import Child, Feeder
from django_cfg.backup.process.threads import InThread, start_thread
from tests.support.tracers import ending_threads

CONTENT = bytes(1000)  # a pipe holds it: a program ends although what it prints is not read


def test_it_has_begun_when_it_is_returned() -> None:
    begun: list[str] = []
    thread = start_thread(lambda: begun.append(threading.current_thread().name), "counting")
    assert begun == ["counting"]
    thread.join()
    assert thread.daemon


def test_it_is_started_again() -> None:
    begun: list[None] = []
    with ending_threads("counting", times=4) as ended:
        start_thread(lambda: begun.append(None), "counting").join()
    assert (len(ended), begun) == (4, [None])


def test_one_that_never_begins_is_an_error() -> None:
    begun: list[None] = []
    with ending_threads("counting", times=5), pytest.raises(BackupError, match="'counting' ended 5 times before it"):
        start_thread(lambda: begun.append(None), "counting")
    assert begun == []


def test_what_a_program_prints_is_not_lost() -> None:
    sink = io.BytesIO()
    with ending_threads("filter", times=1) as ended, Filter(["cat"], sink) as packer:
        packer.write(CONTENT)
    assert ended
    assert sink.getvalue() == CONTENT


def test_a_program_whose_output_is_not_read_is_ended(nothing_left_running: None) -> None:
    with ending_threads("filter", times=5), pytest.raises(BackupError, match="before it began"):
        Filter(["sleep", "600"], io.BytesIO())


def test_what_a_program_is_fed_is_not_lost() -> None:
    with (
        ending_threads("feeder", times=1) as ended,
        Feeder(iter([CONTENT]), to_the_end=True) as feeder,
        Child(["wc", "-c"], feed=True, limit=20) as counter,
    ):
        feeder.start(counter.stdin)
        assert int(counter.stdout.read()) == len(CONTENT)
        counter.wait()
    assert ended


def test_the_last_words_of_a_program_are_read() -> None:
    with ending_threads("sh-stderr", times=1) as ended, Child(["sh", "-c", "echo it is full >&2"]) as program:
        program.wait()
    assert (len(ended), program.last_words) == (1, "it is full")


def test_a_question_is_asked() -> None:
    with ending_threads("asking", times=1) as ended:
        assert InThread(lambda: 42, "asking").result(10, None) == 42
    assert ended
