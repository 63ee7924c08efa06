"""Signals are deferred during the last step of a restore."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from django_cfg.backup.errors import DumpFailed
from django_cfg.backup.process.deferred_signals import ENDING, defer_signals
from django_cfg.backup.process.time_limit import limit_time


def test_a_signal_is_deferred_to_the_end_of_the_block() -> None:
    done = []

    def act() -> None:
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of the block")

    with pytest.raises(KeyboardInterrupt):
        act()
    assert done == ["the rest of the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_signal_nothing_changes() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with defer_signals():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_it_can_be_used_in_another_thread() -> None:
    """Only the main thread can handle signals; in the others the block does nothing."""
    done = []

    def work() -> None:
        with defer_signals():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_a_part_of_the_block_can_be_interrupted() -> None:
    """By a deferred signal at its beginning, or by any later one. After it signals are deferred again."""
    done = []

    def act(early: bool) -> None:
        with defer_signals() as deferred:
            if early:
                signal.raise_signal(signal.SIGINT)
            try:
                with deferred.allowed():
                    done.append("allowed")
                    signal.raise_signal(signal.SIGINT)
                    done.append("never")
            finally:
                signal.raise_signal(signal.SIGINT)
                done.append("the rest of the block")

    for early in (True, False):
        with pytest.raises(KeyboardInterrupt):
            act(early)
    assert done == ["the rest of the block", "allowed", "the rest of the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_is_not_lost_when_the_block_fails() -> None:
    """The failure becomes a note of the signal's exception; otherwise a run over several databases would continue."""

    def act() -> None:
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
            error = ValueError("the disk is full")
            error.add_note("Old data: shop_old")
            raise error

    with pytest.raises(KeyboardInterrupt) as raised:
        act()
    assert raised.value.__notes__ == ["the disk is full", "Old data: shop_old"]


@pytest.mark.parametrize("moment", range(1, 4))
@pytest.mark.parametrize("at", ["its beginning", "its end"])
def test_a_signal_while_handlers_are_set(monkeypatch: pytest.MonkeyPatch, at: str, moment: int) -> None:
    """Whichever signal has its handler already: in the end each has its previous handler."""
    before = [signal.getsignal(number) for number in ENDING]
    set_handler, calls = signal.signal, []

    def set_and_raise(number: int, handler: Any) -> Any:
        found = set_handler(number, handler)
        calls.append(number)
        if len(calls) == moment + (len(ENDING) if at == "its end" else 0):
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(signal, "signal", set_and_raise)
    with pytest.raises(KeyboardInterrupt), defer_signals():
        pass
    monkeypatch.undo()
    assert [signal.getsignal(number) for number in ENDING] == before


def test_a_time_limit_waits_for_the_end_of_the_block() -> None:
    """RQ ends a job that takes too long by SIGALRM: no switch of databases is cut in two by that."""
    done = []

    def limited() -> None:
        with limit_time(60, "restore"):
            with defer_signals():
                signal.raise_signal(signal.SIGALRM)
                done.append("the switch")
            done.append("never")

    with pytest.raises(DumpFailed, match="took longer than 60 s"):
        limited()
    assert done == ["the switch"]
