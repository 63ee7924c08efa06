"""A signal at each step of a run, where its lock, its row and its lease are taken and given back.

Whichever step it is: the run has ended for the history, and the next one is made at once, in the same process.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.models import Run
from django_cfg.backup.process import deferred_signals
from django_cfg.backup.services.creation import create
from django_cfg.backup.services.restore import restore
from django_cfg.backup.services.runs import file_lock, lease, run
from tests.support.django_project import Site

FILES = {module.__file__ for module in (deferred_signals, create, restore, file_lock, lease, run)}
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
pytestmark = pytest.mark.usefixtures("books")


class Ended(BaseException):
    """What a handler of SIGTERM or of a time limit raises."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """SIGTERM ends by an exception, as in the commands; SIGALRM, as in the jobs of a queue."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended

    before = {number: signal.signal(number, end) for number in ENDING[1:]}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run_until(act: Callable[[], object], first: int, number: int, second: int = 0) -> tuple[int, int]:
    """Call *act* with a signal at the *first* step (a line or a return), and at the *second* call or return after it.

    :returns: how many steps there were, and how many calls and returns after the signal.
    """
    steps = calls = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:  # until it raises
        nonlocal steps
        if _file_of(frame) not in FILES:
            return None
        steps += 1
        if steps == first:
            signal.raise_signal(number)
        return trace

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        if steps >= first > 0 and _file_of(frame) in FILES:
            calls += 1
            if calls == second:
                signal.raise_signal(number)

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        with contextlib.suppress(KeyboardInterrupt, Ended):
            act()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return steps, calls


def _file_of(frame: FrameType) -> str:
    """The file of the code, and of a ``with`` of contextlib that of its block."""
    code = frame.f_code
    if code.co_filename == contextlib.__file__:
        code = getattr(getattr(frame.f_locals.get("self"), "gen", None), "gi_code", code)
    return code.co_filename


def back_up() -> None:
    create_backup()


def restore_it() -> None:
    restore_backup(discard_old=True)


def assert_nothing_is_held(act: Callable[[], object], step: object) -> None:
    kept = [signal.getsignal(number) for number in ENDING]
    assert kept[0] is signal.default_int_handler, step
    assert all("handler.<locals>.end" in repr(found) for found in kept[1:]), step
    assert not Run.objects.filter(state=Run.State.RUNNING).exists(), step
    act()


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("act", [back_up, restore_it])
@pytest.mark.parametrize("stride", [61, pytest.param(1, marks=pytest.mark.long)])
def test_a_signal_at_each_step(site: Site, act: Callable[[], object], number: int, stride: int) -> None:
    back_up()
    total, _ = run_until(act, 0, number)
    assert total > 100
    for step in range(1, total + 1, stride):
        run_until(act, step, number)
        assert_nothing_is_held(act, f"step {step} of {total}")


@pytest.mark.parametrize("act", [back_up, restore_it])
@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.long)])
def test_a_second_signal_at_each_step_after_the_first(site: Site, act: Callable[[], object], stride: int) -> None:
    """As from a person who presses Ctrl-C again while the run ends."""
    back_up()
    total, _ = run_until(act, 0, signal.SIGINT)
    count, calls = run_until(act, total // 2, signal.SIGINT)
    assert count < total, "the first one ends it"
    assert calls > 30
    for call in range(1, calls + 1, stride):
        run_until(act, total // 2, signal.SIGINT, call)
        assert_nothing_is_held(act, f"call {call} of {calls}")
