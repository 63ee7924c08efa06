"""``python -m benchmarks [sqlite|postgresql|restore ...] [--turns N] [--scale X] [--slow]``"""

from __future__ import annotations

import argparse

from benchmarks import postgresql, restore, sqlite

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("engines", nargs="*", choices=["sqlite", "postgresql", "restore", []], help="none: all")
parser.add_argument("--turns", type=int, default=5)
parser.add_argument("--scale", type=float, default=1.0, help="1.0: about 1 GB")
parser.add_argument("--slow", action="store_true", help="xz too, which takes minutes a turn")
options = parser.parse_args()
if "sqlite" in options.engines or not options.engines:
    sqlite.main(options.turns, options.scale)
if "postgresql" in options.engines or not options.engines:
    postgresql.main(options.turns, options.scale, options.slow)
if "restore" in options.engines or not options.engines:
    restore.main(options.turns, options.scale)
