"""Measuring programs in turns, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Contender:
    """One way to do the job: a command, what to clear away before it, and what it leaves."""

    name: str
    command: Sequence[str]
    prepare: Callable[[], None]
    size: Callable[[], int]  # bytes left on disk
    env: Mapping[str, str] | None = None
    waits: bool = False  # says that it is ready in a line, and begins when it is given one: its start is not measured


@dataclass(frozen=True)
class Turn:
    wall: float  # seconds
    cpu: float  # seconds, children included
    peak: int  # bytes of the process itself
    tree: int  # bytes of it and its children together, as seen twenty times a second
    size: int  # bytes left on disk


def in_turns(contenders: Sequence[Contender], turns: int) -> dict[str, list[Turn]]:
    results: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    for number in range(turns):
        for contender in contenders:
            results[contender.name].append(_run(contender))
            print(".", end="", flush=True, file=sys.stderr)
        print(f" turn {number + 1} of {turns}", file=sys.stderr)
    return results


class Section(Protocol):
    """A part of the report: for the terminal and for the document."""

    @property
    def title(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def markdown(self) -> str: ...
    @property
    def problems(self) -> Sequence[str]: ...  # promises that were not kept


@dataclass(frozen=True)
class Row:
    """Medians of the turns of one contender; the ratio is the median of the ratios of each turn to the baseline's."""

    name: str
    wall: float
    ratio: float
    cpu: float
    peak: float  # MB
    tree: float  # MB
    size: float  # MB


@dataclass(frozen=True)
class Table:
    """Contenders that were measured in turns."""

    title: str
    facts: str  # what was measured, on which versions
    baseline: str
    results: Mapping[str, Sequence[Turn]]
    problems: Sequence[str] = ()

    @property
    def rows(self) -> list[Row]:
        base = self.results[self.baseline]
        return [
            Row(
                name,
                _median(turn.wall for turn in turns),
                _median(turn.wall / of.wall for turn, of in zip(turns, base, strict=True)),
                _median(turn.cpu for turn in turns),
                _median(turn.peak / 1e6 for turn in turns),
                _median(turn.tree / 1e6 for turn in turns),
                _median(turn.size / 1e6 for turn in turns),
            )
            for name, turns in self.results.items()
        ]

    @property
    def text(self) -> str:
        lines = [f"{self.title}: {self.facts}", f"{'':40}ratio  wall s   cpu s peak MB tree MB MB left"]
        lines += [
            f"{r.name:40}{r.ratio:5.2f}{r.wall:8.2f}{r.cpu:8.2f}{r.peak:8.0f}{r.tree:8.0f}{r.size:8.0f}"
            for r in self.rows
        ]
        return "\n".join(lines)

    @property
    def markdown(self) -> str:
        lines = [f"{self.facts}.", "", "| | ratio | wall | processor time | peak memory | of its tree | left on disk |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [
            f"| {_code(r.name)} | {r.ratio:.2f} | {r.wall:.2f} s | {r.cpu:.2f} s | {r.peak:.0f} MB | {r.tree:.0f} MB "
            f"| {r.size:.0f} MB |"
            for r in self.rows
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Facts:
    """Single figures, each with what it is."""

    title: str
    lines: Sequence[str]
    problems: Sequence[str] = ()

    @property
    def text(self) -> str:
        return "\n".join([f"{self.title}:", *(f"  {line}" for line in self.lines)])

    @property
    def markdown(self) -> str:
        return "\n".join(f"- {line}" for line in self.lines)


def _code(name: str) -> str:
    return name if name.startswith("ours") else f"`{name}`".replace("|", "\\|")


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _run(contender: Contender) -> Turn:
    contender.prepare()
    os.sync()
    before = _cpu(resource.getrusage(resource.RUSAGE_CHILDREN))
    started = time.perf_counter()
    process = subprocess.Popen(
        contender.command, env=contender.env, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if contender.waits else subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    assert process.stderr
    if process.stdout:
        process.stdout.readline()
        before, started = before + _cpu_of(process.pid), time.perf_counter()
        process.stdout.close()
    process.stdin.close()
    watch = _Watch(process.pid)
    errors = process.stderr.read()
    watch.end()  # it has closed its last pipe; as long as it is not waited for, its memory can be looked up
    process.wait()
    wall = time.perf_counter() - started
    process.stderr.close()
    if process.returncode != 0:
        sys.exit(f"{contender.name} failed: {errors.decode()}")
    cpu = _cpu(resource.getrusage(resource.RUSAGE_CHILDREN)) - before
    return Turn(wall, cpu, watch.own, watch.tree, contender.size())


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _cpu_of(pid: int) -> float:
    """Seconds that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class _Watch:
    """Looks at the memory of a process and its descendants while it runs.

    The system's own peak of a child (``ru_maxrss``) begins at what its parent held when it was started.
    """

    def __init__(self, pid: int) -> None:
        self.own = self.tree = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.own = max(self.own, _peak(self._pid))
            self.tree = max(self.tree, sum(map(_resident, _tree(self._pid))))


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(found for child in children for found in _tree(int(child)))]


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
