"""The name of a backup, which is its id."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from string import Formatter

ARCHIVE_KEY = re.compile(
    r"(?P<name>.+?)(?P<infix>\.[0-9a-f]{8})?(?P<rows>\.rows\d+)?\.(?P<format>pgdump|sql|sqlite3)"
    r"(?P<compressed>\.(?:gz|zst|bz2|xz))?(?P<encrypted>\.gpg)?",
    re.DOTALL,
)
_UNFIT = re.compile(r"[^\w-]+")  # for a file name on any system; a dot would begin a suffix


def render_name(template: str, *, database: str, env: str, started_at: datetime, zone: tzinfo) -> str:
    """*template* with its variables filled in; the time is local to *zone*."""
    timestamp = started_at.astimezone(zone).strftime("%Y%m%d_%H%M%S")
    return template.format(database=_fit(database), env=_fit(env), timestamp=timestamp)


def name_pattern(template: str, *, env: str, database: str | None = None) -> re.Pattern[str]:
    """What matches every name that *template* gives in *env*, whatever the time; None: of any database."""
    alias = r"[\w-]+" if database is None else re.escape(_fit(database))
    fitting = {"database": alias, "timestamp": r"\d{8}_\d{6}", "env": re.escape(_fit(env))}
    parts = Formatter().parse(template)
    return re.compile("".join(re.escape(text) + fitting.get(name or "", "") for text, name, _, _ in parts) + r"(-\d+)?")


def free_name(is_taken: Callable[[str], bool], wanted: str) -> str:
    """*wanted*, or with ``-2``, ``-3``... when it is taken: nothing is ever overwritten."""
    candidates = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
    return next(name for name in candidates if not is_taken(name))


def is_later_of_same_name(name: str, wanted: str) -> bool:
    """Whether :func:`free_name` gave *name* because *wanted* was taken: it is the name of another backup."""
    return re.fullmatch(re.escape(wanted) + r"-\d+", name) is not None


def _fit(value: str) -> str:
    return _UNFIT.sub("-", value) or "-"
