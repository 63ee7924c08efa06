"""How fast, in how much memory: always as a ratio, measured in turns in one run. ``make bench`` writes
docs/benchmarks.md and its chart."""
