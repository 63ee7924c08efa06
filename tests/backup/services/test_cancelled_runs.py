"""A run that a person cancels ends at its next step, leaves nothing, and is no failure: no signal is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from django_cfg.backup import signals
from django_cfg.backup.errors import Cancelled
from django_cfg.backup.management.output.progress import TerminalProgress
from django_cfg.backup.models import Run
from django_cfg.backup.process.deferred_signals import CancelRequested, defer_signals
from django_cfg.backup.services.creation.create import create_backup
from django_cfg.backup.services.restore.restore import restore_backup
from tests.support.django_project import Site

pytestmark = pytest.mark.usefixtures("frequent_looks")


class Waiting(TerminalProgress):
    """Waits in the step *label* until the run has ended: only a cancellation ends it."""

    def __init__(self, label: str, cancel: Callable[[], None]) -> None:
        self._wanted, self._cancel = label, cancel
        self.cancelled_by = ""

    def say(self, text: str) -> None:
        if self._wanted in text:
            self._cancel()
            threading.Event().wait(20)

    def begin(self, label: str, total: int) -> None:
        self.say(label)

    def advance(self, count: int) -> None: ...

    def end(self) -> None: ...


def cancel_the_row() -> None:
    Run.objects.filter(state=Run.State.RUNNING).update(cancelled_by="ada")


@pytest.mark.usefixtures("books")
class TestBackup:
    @pytest.mark.parametrize("step", ["reading", "storing"])
    def test_a_cancelled_backup_ends_and_leaves_nothing(self, site: Site, sent: list[str], step: str) -> None:
        with pytest.raises(Cancelled, match="was cancelled by ada"):
            create_backup(progress=Waiting(step, cancel_the_row))
        row = Run.objects.get()
        assert (row.state, row.message, row.lease) == ("cancelled", "Cancelled by ada.", None)
        assert site.stored() == []
        assert sent == []
        assert site.create().name, "the next backup is made immediately"

    def test_a_backup_is_cancelled_by_its_progress(self, site: Site) -> None:
        """For runs without a readable row: its database is being restored, or is unavailable."""
        progress: Any = Waiting("reading", lambda: setattr(progress, "cancelled_by", "ada"))
        with pytest.raises(Cancelled, match="ada"):
            create_backup(progress=progress)

    def test_a_backup_in_another_thread_is_cancelled(self, site: Site) -> None:
        errors: list[BaseException] = []
        is_cancelled = threading.Event()

        class Uninterrupted(Waiting):
            def say(self, text: str) -> None:
                if "reading" in text:
                    cancel_the_row()
                    is_cancelled.wait(1)  # the next step raises

        def run() -> None:
            try:
                create_backup(progress=Uninterrupted("reading", cancel_the_row))
            except BaseException as error:  # noqa: BLE001
                errors.append(error)
            finally:
                connections.close_all()  # this thread's own

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert [type(error) for error in errors] == [Cancelled]
        assert site.stored() == []

    def test_a_cancellation_after_publishing_has_no_effect(self, site: Site, sent: list[str]) -> None:
        """The backup is stored: it stays, and has succeeded."""

        def late(**facts: object) -> None:
            cancel_the_row()

        signals.backup_succeeded.connect(late)
        try:
            manifest = create_backup()
        finally:
            signals.backup_succeeded.disconnect(late)
        assert Run.objects.get().state == "succeeded"
        assert site.stored()
        assert manifest.name

    def test_the_command_reports_the_cancellation(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(TerminalProgress, "say", lambda self, text: Waiting("reading", cancel_the_row).say(text))
        answer = site.call("backup_create")
        assert (answer.code, answer.stderr) == (1, "The backup of tests/test/default was cancelled by ada.")


@pytest.mark.usefixtures("books")
def test_a_restore_is_cancelled(site: Site, sent: list[str]) -> None:
    """Its progress requests it, because the history is in the database that is replaced."""
    site.create()
    sent.clear()
    before = site.content()
    progress: Any = Waiting("switching", lambda: setattr(progress, "cancelled_by", "ada"))
    with pytest.raises(Cancelled, match=r"The restore of .* was cancelled by ada"):
        restore_backup(progress=progress)
    assert site.content() == before
    assert sent == []


def test_a_cancellation_does_not_interrupt_the_switch() -> None:
    done = []

    def switch() -> None:
        with defer_signals(cancellable=True) as deferred, deferred.allowed():
            with defer_signals():
                deferred.cancel("ada")
                done.append("the switch")
            done.append("never")

    with pytest.raises(CancelRequested):
        switch()
    assert done == ["the switch"]


def test_a_request_after_the_block_is_ignored() -> None:
    with defer_signals(cancellable=True) as deferred:
        deferred.cancel("ada")
    deferred.cancel("ben")
    assert deferred.cancelled_by == "ada"
