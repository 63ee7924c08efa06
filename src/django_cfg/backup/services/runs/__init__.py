"""The history of runs, and what keeps two of them apart."""
