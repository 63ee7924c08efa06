"""What PostgreSQL and its programs print, without the rows and statements that they quote.

These may be secret, and the text gets into exceptions, mails, the history and proofs, which are not encrypted even if
the backup is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_STATEMENT_FAILED = re.compile(r"could not execute query: ")
_TOC_ENTRY = re.compile(r"from TOC entry (\d+); ")
_OWN_FAILURE = re.compile(
    r"^pg_restore: error: (?:connection to server|could not|out of memory|a worker process died)[^\n]*", re.MULTILINE
)
_WRITTEN_AT_ONCE = 1000  # bytes; PostgreSQL's own fprintf writes 1024 at a time
STDERR_LINES = 2000  # kept of a program's output: the error comes before a statement that may be long

_PROGRAM = r"\S*(?:pg_dump|pg_restore|psql)\S*: "
_PROGRAM_LINE = re.compile(_PROGRAM)
_FIELD = re.compile(
    rf"(?:{_PROGRAM}(?:[^\n]*?: )?)?(?P<name>ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|DETAIL|HINT|CONTEXT|QUERY|STATEMENT|"
    r"LOCATION|LINE \d+|Command was): *"
)
# In another language, which only a superuser could change. The other fields are named by the programs themselves.
_FOREIGN = re.compile(rf"{_PROGRAM}(?:[^\n]*?: )?(?P<name>[^\W\d_]+):  ")
_FOREIGN_QUOTES = re.compile(r'["«»„“”「」『』].*["«»„“”「」『』]', re.DOTALL)
_FREE_TEXT = ("QUERY", "STATEMENT", "Command was")  # a line that looks like another field may be part of it
_CONTEXT = re.compile(
    r"COPY .+?, line \d+(, column [^:]+)?|PL/pgSQL function [^\n]+ line \d+ at [A-Za-z ]+"
    r"|^COPY [^:\"«»„“「]+?, [^\W\d_]+ \d+(, [^\W\d_]+ [^:\n]+)?"
)


def remove_row_data(text: str) -> str:
    """Return *text* of a program or the driver with its tables, line numbers and columns, and nothing from a row."""
    fields = list(_split_fields(text))
    if len(text.splitlines()) >= STDERR_LINES and not _PROGRAM_LINE.match(fields[0]):
        del fields[0]  # the rest of a field whose beginning, which says what it is, has been lost
    return "\n".join(filter(None, map(_clean_field, fields))).strip()


def remove_row_data_of_several(text: str) -> str:
    """Return the first error of *text*, what several processes of pg_restore have printed, without anything of a row.

    They write at the same time, so a line may be cut by that of another one. What one process writes at once, the
    first kilobyte of a message, is never cut: only that is read.
    """
    found = _STATEMENT_FAILED.search(text)
    if not found:
        return "\n".join(match[0] for match in _OWN_FAILURE.finditer(text))
    numbers = _TOC_ENTRY.findall(text, 0, found.start())
    message = text[found.start() :].encode()[:_WRITTEN_AT_ONCE].decode(errors="ignore")
    message, command, _ = message.partition("Command was: ")
    if not command:  # it was cut: only its first line is certainly complete
        message = message.partition("\n")[0]
    entry = f"pg_restore: from TOC entry {numbers[0]}; \n" if len(numbers) == 1 else ""  # else it may be any of them
    return remove_row_data(f"{entry}pg_restore: error: {message}")


def describe_error(error: object) -> str:
    """Return what the driver says of an error of the server, likewise: it leaves out the word ERROR before it."""
    return remove_row_data(f"ERROR:  {error}").removeprefix("ERROR:").strip()


def get_sqlstate(error: BaseException) -> str | None:
    """Return the server's code for *error*, as psycopg 3 or 2 names it; None: the error is not the server's."""
    state: str | None = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state


def _split_fields(text: str) -> Iterator[str]:
    """Split *text* into fields or lines of a program, each with the lines that continue it."""
    field: list[str] = []
    for line in text.splitlines():
        if field and _starts_field(line, field[0]):
            yield "\n".join(field)
            field = []
        field.append(line)
    yield "\n".join(field)


def _starts_field(line: str, current: str) -> bool:
    found = _FIELD.match(current)
    is_program = bool(_PROGRAM_LINE.match(line))
    return is_program if found and found["name"] in _FREE_TEXT else is_program or bool(_FIELD.match(line))


def _clean_field(field: str) -> str:
    found = _FIELD.match(field)
    clean = _CLEANERS.get(found["name"]) if found else _clean_message
    found = found or _FOREIGN.match(field)
    if not found:
        return field
    rest = clean(field[found.end() :]) if clean else ""
    return field[: found.end()] + rest if rest else ""


def _clean_message(text: str) -> str:
    """Remove the value that did not fit. It ends the message, as in ``invalid input syntax for type integer: "x"``, or
    begins it: ``value "x" is out of range for type integer``, ``invalid value "x" for "YYYY"``."""
    text = re.sub(r'^((?:invalid )?value |)".*"(?= is out of range for | for ")', r'\1"..."', text, flags=re.DOTALL)
    return _clean_foreign(re.sub(r': ".*"$', ': "..."', text, flags=re.DOTALL))


def _clean_detail(text: str) -> str:
    text = re.sub(r"contains \(.*", "contains (...)", text, flags=re.DOTALL)
    text = re.sub(r"\)\s?=\s?\(.*\)", ")=(...)", text, flags=re.DOTALL)
    text = re.sub(r'^(Token|Expected .* found|Escape sequence) ".*"', r'\1 "..."', text, flags=re.DOTALL)
    if ")=(...)" not in text:
        text = re.sub(r" \(.*", " (...)", text, flags=re.DOTALL)  # a row, in any language
    return _clean_foreign(text)


def _clean_foreign(text: str) -> str:
    """Remove all that is quoted if *text* is not in English: which of it is a value is not known then."""
    quoted = re.sub(r'".*"', "", text, flags=re.DOTALL)
    return text if quoted.isascii() else _FOREIGN_QUOTES.sub('"..."', text)


def _clean_context(text: str) -> str:
    found = _CONTEXT.search(text)
    return found[0] if found else ""


# A field that is not listed is removed.
_CLEANERS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "INFO"), _clean_message),
    "DETAIL": _clean_detail,
    "CONTEXT": _clean_context,
    "HINT": str,
}
