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
ENDING = (signal.SIGINT, signal.SIGTERM)
pytestmark = pytest.mark.usefixtures("books")


class Ended(BaseException):
    """What a handler of SIGTERM raises."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """SIGTERM ends by an exception, as in the commands."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


def run_until(act: Callable[[], object], steps: set[int], number: int) -> tuple[int, BaseException | None]:
    """Do it, with a signal at each of *steps*, counted in lines and returns; how many there were, and how it ended."""
    count = 0

    def follow(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if _file_of(frame) not in FILES:
            return None
        count += 1
        if count in steps:
            signal.raise_signal(number)
        return follow

    before = sys.gettrace()
    sys.settrace(follow)
    try:
        act()
    except (KeyboardInterrupt, Ended) as ended:
        return count, ended.with_traceback(None)
    finally:
        sys.settrace(before)
    return count, None


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


def expect_nothing_held(act: Callable[[], object], step: object) -> None:
    kept = [signal.getsignal(number) for number in ENDING]
    assert kept[0] is signal.default_int_handler, step
    assert "handler.<locals>.end" in repr(kept[1]), step
    assert not Run.objects.filter(state=Run.State.RUNNING).exists(), step
    act()


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("act", [back_up, restore_it])
@pytest.mark.parametrize("stride", [61, pytest.param(1, marks=pytest.mark.long)])
def test_a_signal_at_each_step(site: Site, act: Callable[[], object], number: int, stride: int) -> None:
    back_up()
    total, _ = run_until(act, set(), number)
    assert total > 100
    for step in range(1, total + 1, stride):
        run_until(act, {step}, number)
        expect_nothing_held(act, f"step {step} of {total}")


@pytest.mark.parametrize("act", [back_up, restore_it])
@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.long)])
def test_a_second_signal_at_each_step_after_the_first(site: Site, act: Callable[[], object], stride: int) -> None:
    """Of a person who presses Ctrl-C again, while the run ends."""
    back_up()
    total, _ = run_until(act, set(), signal.SIGINT)
    first, second = total // 2, total // 2 + 1
    count, ended = run_until(act, {first}, signal.SIGINT)
    assert count < total, "the first one ends it"
    assert isinstance(ended, KeyboardInterrupt)
    expect_nothing_held(act, "the first one")
    while second <= count:
        run_until(act, {first, second}, signal.SIGINT)
        expect_nothing_held(act, f"step {second} of {count}")
        second += stride
