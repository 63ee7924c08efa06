"""Secrets that occur nowhere else, and looking for them everywhere: a find is a leak."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

_watching: list[Watch] = []


class Canaries:
    """Made-up secrets; letters and digits, so that no encoding changes them."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def plant(self, what: str) -> str:
        """A secret for *what*; the same when it is asked for again."""
        return self.values.setdefault(what, f"canary{uuid4().hex}")

    def in_text(self, where: str, text: str | bytes) -> list[str]:
        """Which secrets *text* holds, and where that is."""
        content = text.encode(errors="replace") if isinstance(text, str) else text
        return [f"{what} in {where}" for what, value in self.values.items() if value.encode() in content]

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


class Watch:
    """The command lines of all processes: of our own children as they are started, of every other by looking
    again and again, since a child may have children."""

    def __init__(self, canaries: Canaries) -> None:
        self.finds: set[str] = set()
        self.started = 0
        self._canaries = canaries
        self._over = threading.Event()
        self._looker = threading.Thread(target=self._look)

    def note(self, argv: Any) -> None:
        self.started += 1
        line = " ".join(map(str, argv)) if isinstance(argv, list | tuple) else str(argv)
        self.finds.update(self._canaries.in_text(f"the arguments of {line.partition(' ')[0]}", line))

    def _look(self) -> None:
        while not self._over.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):  # it has ended
                    line = path.read_bytes()
                    self.finds.update(self._canaries.in_text(f"the command line of {line[:60]!r}", line))


@contextmanager
def watching(canaries: Canaries) -> Iterator[Watch]:
    watch = Watch(canaries)
    _watching.append(watch)
    watch._looker.start()
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
