"""``python -m benchmarks [NAME ...] [--turns N] [--scale X] [--slow]``"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import memory, mysql, postgresql, restore, retention, s3, sqlite

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("names", nargs="*", help="see BENCHMARKS; none: all")
parser.add_argument("--turns", type=int, default=5)
parser.add_argument("--scale", type=float, default=1.0, help="1.0: about 1 GB")
parser.add_argument("--slow", action="store_true", help="xz too, which takes minutes a turn")
options = parser.parse_args()
turns, scale, slow = options.turns, options.scale, options.slow

BENCHMARKS: dict[str, Callable[[], None]] = {
    "sqlite": lambda: sqlite.main(turns, scale),
    "postgresql": lambda: postgresql.main(turns, scale, slow),
    "encrypted": lambda: postgresql.main(turns, scale, encrypted=True),
    "mysql": lambda: mysql.main(turns, scale, slow),
    "s3": lambda: s3.main(turns, scale),
    "restore": lambda: restore.main(turns, scale),
    "retention": lambda: retention.main(turns, scale),
    "memory": lambda: memory.main(turns, scale),
}
if unknown := set(options.names) - BENCHMARKS.keys():
    parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
for name in options.names or BENCHMARKS:
    BENCHMARKS[name]()
