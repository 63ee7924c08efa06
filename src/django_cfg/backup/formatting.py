"""Numbers in messages: sizes in MB and GB, counts with their noun."""

from __future__ import annotations

MB = 1_000_000


def megabytes(size: int) -> str:
    """Format *size*, in bytes: ``512 bytes``, ``1.2 MB``, from ten thousand MB on ``12.3 GB``. One MB is 10^6 bytes."""
    if size < MB // 10:
        return f"{size:,} bytes"
    return f"{size / MB:,.1f} MB" if size < 10_000 * MB else f"{size / MB / 1000:,.1f} GB"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Format a number with its noun: ``1 day``, ``7 days``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
