"""What the servers and their programs print, without the rows and statements that they quote.

These may be secret, and the text gets into exceptions, mails, the history and proofs, which are not encrypted even if
the backup is.
"""

from __future__ import annotations

import re

IN_ENGLISH = "SET SESSION lc_messages = 'en_US'"  # what is removed is found by the words around it
STDERR_LINES = 1000  # kept of a program's output: a statement, and an error of at most 512 bytes

# The client prints a statement that failed between two lines of dashes. A dump has no such line within a statement.
_DASHES = "--------------\n"
_ERROR_AFTER_STATEMENT = re.compile(rf"^{_DASHES}\s*(?=ERROR \d+ \()", re.MULTILINE)
_NAME = r"(?:'[^'\n]*'|`[^`\n]*`(?:\.`[^`\n]*`)*|\w+)"
# Where a value is quoted, and what may follow it. A value may hold quotes and anything else.
_VALUES = (
    (r"Duplicate entry", rf" for key {_NAME}"),
    (r"value(?: is out of range in)?:?|string:?|expression:?", rf" for (?:column|function) {_NAME}(?: at row \d+)?"),
    (r"syntax to use near|syntax error near|near", r" at line \d+"),
)
_QUOTED = tuple(
    re.compile(rf"(?P<before>\b(?:{before}) )'.*?(?P<after>(?:{after})?)\.?\s*\Z", re.DOTALL)
    for before, after in _VALUES
)
_PARTITION = re.compile(r"(no partition for value ).*", re.DOTALL)


def remove_row_data(text: str) -> str:
    """Return *text* of a server, its client or a driver with its tables and line numbers, and nothing from a row."""
    found = _ERROR_AFTER_STATEMENT.search(text)
    text = (text[found.end() :] if found else text.rpartition(_DASHES)[2]).strip()
    for pattern in _QUOTED:
        text = pattern.sub(_shorten, text, count=1)
    return _PARTITION.sub(r"\1...", text)


def remove_row_data_of(error: BaseException) -> None:
    """Remove the rows that *error* of a driver quotes, and those of its causes: a log may print all of them."""
    cause: BaseException | None = error
    while cause is not None:
        cause.args = tuple(remove_row_data(arg) if isinstance(arg, str) else arg for arg in cause.args)
        cause = cause.__cause__


def get_error_text(error: Exception) -> str:
    """Return the server's message without its final period; drivers put it after the error number."""
    text = error.args[1] if len(error.args) > 1 else error
    return remove_row_data(str(text)).rstrip(".")


def get_error_number(error: Exception) -> int:
    """Return the server's error number; 0 if there is none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _shorten(found: re.Match[str]) -> str:
    return f"{found['before']}'...'{found['after']}"
