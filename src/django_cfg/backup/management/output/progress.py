"""Progress on stderr: a bar where a person watches, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import NoReturn

from django.core.management.base import OutputWrapper
from tqdm import tqdm

from django_cfg.backup.formatting import megabytes, printable, seconds_taken


class TerminalProgress:
    def __init__(self, stderr: OutputWrapper, *, quiet: bool) -> None:
        self._stderr = stderr
        self._quiet = quiet
        self._bar: tqdm[NoReturn] | None = None
        self._label = ""
        self._passed = 0
        self._begun = 0.0

    def say(self, text: str) -> None:
        if not self._quiet:
            self._stderr.write(printable(text, keep_lines=True), self._plain)

    def begin(self, label: str, total: int) -> None:
        self._label, self._passed, self._begun = label, 0, time.monotonic()
        if not self._quiet and self._stderr.isatty():
            # not through Django's wrapper, which would end every redrawing with a new line
            self._bar = tqdm(
                None, printable(label), total or None, unit="B", unit_scale=True, file=sys.stderr, leave=False
            )

    def advance(self, count: int) -> None:
        self._passed += count
        if self._bar is not None:
            self._bar.update(count)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        seconds = max(time.monotonic() - self._begun, 0.001)
        speed = f"{megabytes(int(self._passed / seconds))}/s"
        self.say(f"{self._label}: {megabytes(self._passed)} in {seconds_taken(seconds)}, {speed}")

    @staticmethod
    def _plain(text: str) -> str:
        return text  # progress is no error, and stderr would print it in red
