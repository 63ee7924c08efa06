"""What PostgreSQL and its programs say, without the rows and statements they quote: those may be secret.

Their words end in exceptions, mails, the history and unencrypted proofs; a backup may be encrypted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from django_cfg.backup.engines.postgresql.libpq import environment, secrets
from django_cfg.backup.process.child import Child

LINES = 2000  # of a program's last words: the error comes before a statement that may be long

_PROGRAM = r"\S*(?:pg_dump|pg_restore|psql)\S*: "
_OF_A_PROGRAM = re.compile(_PROGRAM)
_FIELD = re.compile(
    rf"(?:{_PROGRAM}(?:[^\n]*?: )?)?(?P<name>ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|DETAIL|HINT|CONTEXT|QUERY|STATEMENT|"
    r"LOCATION|LINE \d+|Command was): *"
)
_OF_ANY_SHAPE = ("QUERY", "STATEMENT", "Command was")  # what looks like another field may be part of it
_CONTEXT = re.compile(r"COPY .+?, line \d+(, column [^:]+)?|PL/pgSQL function [^\n]+ line \d+ at [A-Za-z ]+")


def spoken(text: str) -> str:
    """*text* of a program or of the driver, with tables, line numbers and columns, and nothing out of a row."""
    pieces = list(_pieces(text))
    if len(text.splitlines()) >= LINES and not _OF_A_PROGRAM.match(pieces[0]):
        del pieces[0]  # what is left of something whose beginning would tell what it is
    return "\n".join(filter(None, map(_kept, pieces))).strip()


def sqlstate(error: BaseException) -> str | None:
    """The server's code for *error*; None: it is not the server's. psycopg 3 and 2 name it differently."""
    state: str | None = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state


def program(argv: Sequence[str], *, settings: Mapping[str, Any] | None = None, feed: bool = False) -> Child:
    """One of PostgreSQL's programs under way, which tells neither a row nor a secret when it fails.

    :param settings: Django's, of the database that it connects to; None: to none.
    """
    if settings is None:
        return Child(argv, feed=feed, said=spoken, lines=LINES)
    env, confided = environment(settings), secrets(settings)
    return Child(argv, env=env, feed=feed, secrets=confided, said=spoken, lines=LINES)


def _pieces(text: str) -> Iterator[str]:
    """Each field or line of a program with the lines that continue it."""
    piece: list[str] = []
    for line in text.splitlines():
        if piece and _begins(line, piece[0]):
            yield "\n".join(piece)
            piece = []
        piece.append(line)
    yield "\n".join(piece)


def _begins(line: str, former: str) -> bool:
    found = _FIELD.match(former)
    if found and found["name"] in _OF_ANY_SHAPE:
        return bool(_OF_A_PROGRAM.match(line))
    return bool(_FIELD.match(line) or _OF_A_PROGRAM.match(line))


def _kept(piece: str) -> str:
    found = _FIELD.match(piece)
    if not found:
        return piece
    keep = _KEEPERS.get(found["name"], _nothing)
    rest = keep(piece[found.end() :])
    return piece[: found.end()] + rest if rest else ""


def _message(text: str) -> str:
    """The value that did not fit ends it: ``invalid input syntax for type integer: "x"``."""
    return re.sub(r': ".*"$', ': "..."', text, flags=re.DOTALL)


def _detail(text: str) -> str:
    text = re.sub(r"contains \(.*", "contains (...)", text, flags=re.DOTALL)
    text = re.sub(r"\)\s?=\s?\(.*\)", ")=(...)", text, flags=re.DOTALL)
    return re.sub(r'^(Token|Expected .* found|Escape sequence) ".*"', r'\1 "..."', text, flags=re.DOTALL)


def _context(text: str) -> str:
    found = _CONTEXT.search(text)
    return found[0] if found else ""


def _nothing(_: str) -> str:
    return ""


def _all(text: str) -> str:
    return text


_KEEPERS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "INFO"), _message),
    "DETAIL": _detail,
    "CONTEXT": _context,
    "HINT": _all,
}
