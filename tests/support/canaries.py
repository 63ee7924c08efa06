"""Canaries: secrets that occur nowhere else, searched for everywhere; a match is a leak."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

_watching: list[Watch] = []


class Canaries:
    """Made-up secrets; letters and digits, so that no encoding changes them but base64, which is looked for too."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def plant(self, what: str) -> str:
        """A secret for *what*; the same when it is asked for again."""
        return self.values.setdefault(what, f"canary{uuid4().hex}")

    def in_text(self, where: str, text: str | bytes) -> list[str]:
        """Which secrets *text* holds, and where that is."""
        content = text.encode(errors="replace") if isinstance(text, str) else text
        planted = tuple(self.values.items())  # other threads may add secrets
        return [f"{what} in {where}" for what, value in planted if any(form in content for form in _forms(value))]

    def in_texts(self, texts: Mapping[str, str]) -> list[str]:
        return [find for where, text in texts.items() for find in self.in_text(where, text)]

    def in_files(self, folders: Iterable[Path]) -> list[str]:
        """In the content and in the name of every file."""
        paths = [path for folder in folders for path in folder.rglob("*")]
        finds = [find for path in paths for find in self.in_text("a file's name", str(path))]
        for path in paths:
            if path.is_file():
                with suppress(FileNotFoundError):  # a socket of an agent that ends
                    finds += self.in_text(str(path), path.read_bytes())
        return finds


class Log(logging.Handler):
    """All that is logged, at every level, in every phase of a test (which pytest's caplog keeps apart)."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] != "mail":  # what the mail server of the tests says is not ours
            self.text += f"{self.format(record)} {record.__dict__!r}\n"


@contextmanager
def listening() -> Iterator[Log]:
    """A block in which everything is logged that can be."""
    log = Log()
    loggers = [logging.getLogger(name) for name in ("", "django")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    loggers[0].addHandler(log)
    try:
        yield log
    finally:
        loggers[0].removeHandler(log)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@cache
def _forms(value: str) -> tuple[bytes, ...]:
    """*value*, and its middle in base64 wherever it may begin there, as in the headers of HTTP and SMTP."""
    plain = value.encode()
    return plain, *(b64encode(bytes(before) + plain)[4:-4] for before in range(3))


class Watch:
    """The command lines of all processes: of our own children as they are started, of every other by looking
    again and again, since a child may have children.

    ``sees``: it has noticed the child that it starts itself at first.
    """

    def __init__(self, canaries: Canaries) -> None:
        self.finds: set[str] = set()
        self.sees = False
        self._canaries = canaries
        self._over = threading.Event()
        self._looker = threading.Thread(target=self._look)

    def note(self, argv: Any) -> None:
        self.sees = True
        line = " ".join(map(str, argv)) if isinstance(argv, list | tuple) else str(argv)
        self.finds.update(self._canaries.in_text(f"the arguments of {line.partition(' ')[0]}", line))

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):  # it has ended
                    line = path.read_bytes()
                    self.finds.update(self._canaries.in_text(f"the command line of {line[:60]!r}", line))


@contextmanager
def watching(canaries: Canaries) -> Iterator[Watch]:
    watch = Watch(canaries)
    _watching.append(watch)
    watch._looker.start()
    subprocess.run(["true"], check=True)
    try:
        yield watch
    finally:
        watch._over.set()
        watch._looker.join()
        _watching.remove(watch)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and _watching:
        for watch in _watching:
            watch.note(arguments[1])


sys.addaudithook(_audit)
