"""Measuring programs in turns, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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
    tree: int  # bytes of it and its children together, as seen ten times a second
    size: int  # bytes left on disk


def in_turns(contenders: Sequence[Contender], turns: int) -> dict[str, list[Turn]]:
    results: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    for number in range(turns):
        for contender in contenders:
            results[contender.name].append(_run(contender))
            print(".", end="", flush=True, file=sys.stderr)
        print(f" turn {number + 1} of {turns}", file=sys.stderr)
    return results


def report(results: Mapping[str, Sequence[Turn]], baseline: str) -> str:
    """A table of medians; the ratio is the median of the ratios of each turn to the baseline's."""
    lines = [f"{'':34}{'wall s':>8}{'ratio':>8}{'cpu s':>8}{'peak MB':>9}{'tree MB':>9}{'MB left':>9}"]
    for name, turns in results.items():
        ratios = [turn.wall / base.wall for turn, base in zip(turns, results[baseline], strict=True)]
        lines.append(
            f"{name:34}{_median(t.wall for t in turns):8.2f}{statistics.median(ratios):8.2f}"
            f"{_median(t.cpu for t in turns):8.2f}{_median(t.peak / 1e6 for t in turns):9.0f}"
            f"{_median(t.tree / 1e6 for t in turns):9.0f}{_median(t.size / 1e6 for t in turns):9.0f}"
        )
    return "\n".join(lines)


def _median(values: object) -> float:
    return statistics.median(list(values))  # type: ignore[call-overload]


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
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    watch.end()
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode != 0:
        sys.exit(f"{contender.name} failed: {errors.decode()}")
    cpu = _cpu(resource.getrusage(resource.RUSAGE_CHILDREN)) - before
    return Turn(wall, cpu, usage.ru_maxrss * 1024, watch.peak, contender.size())


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _cpu_of(pid: int) -> float:
    """Seconds that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class _Watch:
    """Adds up the memory of a process and its descendants while it runs."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.peak = max(self.peak, sum(map(_resident, _tree(self._pid))))


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(found for child in children for found in _tree(int(child)))]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
