"""Numbers and texts in messages: sizes, counts with their noun, names of others without control characters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

MB = 1_000_000


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Replace what a terminal acts on, or could not print, with its escape: ``\\x1b``, ``\\n``, ``\\u202e``.

    A name in a storage or a database may come from anyone; it must not clear a screen or add a line to a list.
    """
    if text.isprintable():
        return text
    kept = "\n" if keep_lines else ""
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in text
    )


def one_paragraph(text: str) -> str:
    """Put *text* into one line that a terminal only prints: a program's message may have several."""
    return printable(" ".join(text.splitlines()))


def megabytes(size: int) -> str:
    """Format *size*, in bytes: ``512 bytes``, ``1.2 MB``, from ten thousand MB on ``12.3 GB``. One MB is 10^6 bytes."""
    if size < MB // 10:
        return f"{size:,} bytes"
    return f"{size / MB:,.1f} MB" if size < 10_000 * MB else f"{size / MB / 1000:,.1f} GB"


def elapsed(span: timedelta) -> str:
    """Format a length of time for a glance: ``40 s``, ``5 min``, ``3 h``, ``2 days``, ``7 weeks``."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 1:
        return "less than 1 s"
    if seconds < 100:
        return f"{seconds} s"
    if seconds < 100 * 60:
        return f"{round(seconds / 60)} min"
    if seconds < 36 * 3600:
        return f"{round(seconds / 3600)} h"
    days = round(seconds / 86_400)
    return counted(days, "day") if days < 21 else counted(round(days / 7), "week")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Format a number with its noun: ``1 day``, ``7 days``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Format names for a message: ``a, b``; of more than *most* the first ones, ``a, b and 3 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def seconds_taken(seconds: float) -> str:
    """Format how long something took, with a unit: ``12.3 s``; never ``0.0 s``."""
    return f"{seconds:.1f} s" if seconds >= 0.05 else "less than 0.1 s"


def format_time(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
