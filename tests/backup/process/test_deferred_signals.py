"""A signal does not cut the last step of a restore in two."""

from __future__ import annotations

import signal
import threading

import pytest

from django_cfg.backup.process.deferred_signals import defer_signals


def test_a_signal_waits_for_the_end_of_the_block() -> None:
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


def test_another_thread_may_use_it() -> None:
    """Only the main thread can handle signals; the others have nothing to wait for."""
    done = []

    def work() -> None:
        with defer_signals():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
