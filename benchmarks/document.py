"""docs/benchmarks.md and its chart, of what was measured."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.measure import Section, Table

CHART = "images/benchmarks.svg"
_README = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- end -->)", re.DOTALL)
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .ours { fill: #0b6e4f } .other { fill: #8b949e } .line { stroke: #1f2328 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .ours { fill: #3fb68b } .other { fill: #6e7681 } .line { stroke: #e6edf3 }
}
"""
_ROW, _LEFT, _WIDTH, _LONGEST = 20, 230, 420, 3.0  # pixels; a bar ends at this ratio


def write(sections: Sequence[Section], folder: Path, turns: int, readme: Path | None) -> None:
    """Write the page and the chart into *folder*, and the figures into *readme*."""
    (folder / CHART).parent.mkdir(parents=True, exist_ok=True)
    (folder / CHART).write_text(chart([section for section in sections if isinstance(section, Table)]))
    (folder / "benchmarks.md").write_text(_page(sections, turns))
    if readme:
        text = "\n".join(["![How long backups and restores take](docs/images/benchmarks.svg)", "", *_figures(sections)])
        readme.write_text(_README.sub(lambda found: f"{found[1]}{text}\n{found[2]}", readme.read_text()))


def chart(tables: Iterable[Table]) -> str:
    """Bars of the ratios, in the colours of the reader's light or dark scheme."""
    parts, y = [], 0
    for table in tables:
        y += 30
        parts.append(
            f'<text class="title" x="0" y="{y}">{escape(table.title)}: 1.00 is {escape(table.baseline)}</text>'
        )
        y += 8
        top = y
        for row in table.rows:
            kind = "ours" if row.name.startswith("ours") else "other"
            length = _WIDTH * min(row.ratio, _LONGEST) / _LONGEST
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(row.name)}</text>')
            parts.append(f'<rect class="{kind}" x="{_LEFT}" y="{y + 3}" width="{length:.0f}" height="14"/>')
            parts.append(f'<text x="{_LEFT + length + 6:.0f}" y="{y + 14}">{row.ratio:.2f}</text>')
            y += _ROW
        one = _LEFT + _WIDTH / _LONGEST
        parts.append(f'<line class="line" x1="{one:.0f}" x2="{one:.0f}" y1="{top}" y2="{y}" stroke-dasharray="2 3"/>')
    size = f'width="{_LEFT + _WIDTH + 50}" height="{y + 10}" viewBox="0 0 {_LEFT + _WIDTH + 50} {y + 10}"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<style>{_STYLE}</style>\n{body}\n</svg>\n'


def _page(sections: Sequence[Section], turns: int) -> str:
    parts = [
        "# Benchmarks",
        "Written by `make bench`, which makes everything it needs: servers, a shop of books with 8 indexes and 4 "
        f"foreign keys, and the contenders, which run in turns. Medians of {turns} turns. A ratio is the median of the "
        "ratios of each turn to the first row: it changes less from machine to machine than seconds do. The start of "
        "Django is not counted, ours and django-dbbackup's alike; peak memory is that of the process, and of all "
        "processes below it together. Rows in code are other tools.",
        *_machine(),
        f"![Ratios]({CHART})",
    ]
    for section in sections:
        parts += [f"## {section.title}", section.markdown]
    return "\n\n".join(parts) + "\n"


def _machine() -> list[str]:
    cpu = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "MemTotal: ?")
    facts = {
        "Date": f"{datetime.now(UTC):%Y-%m-%d}",
        "Machine": f"{len(os.sched_getaffinity(0))} cores of {cpu.partition(': ')[2] or cpu}, "
        f"{int(memory.split()[1]) / 1e6:.0f} GB of memory, {platform.system()} {platform.release()}",
        "Versions": ", ".join([f"Python {platform.python_version()}", *_versions(), *_programs()]),
        "Command": f"`python -m benchmarks {' '.join(sys.argv[1:])}`".replace(" `", "`"),
    }
    return ["\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())])]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _versions() -> list[str]:
    names = ("django", "django-cfg-backup", "django-dbbackup", "isal", "backports.zstd")
    found = []
    for name in names:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return found


def _programs() -> Iterable[str]:
    """The first line of what each program says of its version."""
    for program in ("gzip", "zstd", "sqlite3"):
        if shutil.which(program):
            said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
            found = re.search(r"\d+(\.\d+)+", said)
            yield f"{program} {found[0] if found else '?'}"


def _figures(sections: Sequence[Section]) -> list[str]:
    """The three figures of the README: a backup, a restore, memory."""
    tables = {
        section.title: {row.name: row for row in section.rows} for section in sections if isinstance(section, Table)
    }
    backup, restore = tables["PostgreSQL, backup"], tables["PostgreSQL, restore"]
    peak = max(row.peak for rows in tables.values() for name, row in rows.items() if name.startswith("ours"))
    other = restore["django-dbbackup, dbrestore -z"].ratio / restore["ours, gzip"].ratio
    return [
        f"- A backup of PostgreSQL takes {backup['ours, gzip'].ratio:.2f} times as long as `pg_dump` alone (gzip; "
        f"zstd {backup['ours, zstd'].ratio:.2f}, `pg_dump | gzip -6` {backup['pg_dump | gzip -6'].ratio:.2f}).",
        f"- A restore, checked and counted, takes {restore['ours, gzip'].ratio:.2f} times as long as "
        f"`gunzip | pg_restore`; django-dbbackup's takes {other:.1f} times as long as ours.",
        f"- At most {peak:.0f} MB of memory. [docs/benchmarks.md](docs/benchmarks.md) has all figures.",
    ]
