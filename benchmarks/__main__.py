"""``python -m benchmarks [NAME ...] [--turns N] [--size GB] [--slow] [--output FOLDER]``"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import listing, memory, mysql, postgresql, retention, sqlite, start
from benchmarks.document import write
from benchmarks.measure import Section

DOCS = Path(__file__).resolve().parents[1] / "docs"
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("names", nargs="*", help="see BENCHMARKS; none: all")
parser.add_argument("--turns", type=int, default=5)
parser.add_argument("--size", "--scale", type=float, default=1.0, help="of each database in GB, about (default: 1)")
parser.add_argument("--slow", action="store_true", help="memory at 10 GB, xz")
parser.add_argument("--output", type=Path, help="folder of benchmarks.md and its chart (default: docs/ if all are run)")
options = parser.parse_args()
turns, size, slow = options.turns, options.size, options.slow

BENCHMARKS: dict[str, Callable[[], Iterator[Section]]] = {
    "postgresql": lambda: postgresql.sections(turns, size, slow),
    "mysql": lambda: mysql.sections(turns, size, slow),
    "sqlite": lambda: sqlite.sections(turns, size),
    "memory": lambda: memory.sections(size, slow),
    "start": lambda: start.sections(turns),
    "listing": lambda: listing.sections(turns, size),
    "retention": lambda: retention.sections(turns, size),
}
if unknown := set(options.names) - BENCHMARKS.keys():
    parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
done: list[Section] = []
for name in options.names or BENCHMARKS:
    for section in BENCHMARKS[name]():
        print(f"\n{section.text}\n", flush=True)
        done.append(section)
if output := options.output or (None if options.names else DOCS):
    write(done, output, turns, readme=DOCS.parent / "README.md" if output.resolve() == DOCS else None)
if failed := [f"{section.title}: {problem}" for section in done for problem in section.problems]:
    raise SystemExit("\n".join(failed))
