"""``python -m benchmarks [--turns N] [--scale X]``"""

from __future__ import annotations

import argparse

from benchmarks import sqlite

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--turns", type=int, default=5)
parser.add_argument("--scale", type=float, default=1.0, help="1.0: about 1 GB")
options = parser.parse_args()
sqlite.main(options.turns, options.scale)
