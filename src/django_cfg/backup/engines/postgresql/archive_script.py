"""What pg_restore makes of an archive: its table of contents, and the script that psql is fed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from django_cfg.backup.errors import VerificationFailed

_EXTENSION_COMMENT = re.compile(rb"\d+; \d+ \d+ COMMENT - EXTENSION ")
_EVENT_TRIGGER = re.compile(rb"\d+; \d+ \d+ (COMMENT - )?EVENT TRIGGER ")
_DATA = re.compile(rb"\d+; \d+ \d+ (?P<kind>TABLE DATA|SEQUENCE SET) (?P<name_and_owner>.*)")
_SCHEMA = re.compile(rb"\d+; \d+ \d+ SCHEMA - (?P<name_and_owner>.*)")
# Asked for by --single-transaction, without which large objects are restored between a BEGIN and a
# COMMIT of their own; it would commit ours before the counts are checked.
_COMMIT = b"\nCOMMIT;\n\n--\n-- PostgreSQL database dump complete\n--\n"
_TAIL = 4096  # bytes that surely hold it
_TRANSACTION_TIMEOUT = b"\nSET transaction_timeout = 0;\n"  # pg_restore 17 and newer; older servers refuse it


@dataclass(frozen=True)
class Contents:
    """What ``pg_restore --list`` printed, in the dump's own encoding."""

    listed: bytes

    def without_schemas(self, names: Iterable[str]) -> Contents:
        """Without those that the target keeps, where creating them would fail."""
        starts = tuple(name.encode() + b" " for name in names)

        def stays(line: bytes) -> bool:
            found = _SCHEMA.match(line)
            return not found or not found["name_and_owner"].startswith(starts)

        return self._of(filter(stays, self._lines))

    def without(self, lines: Collection[bytes]) -> Contents:
        return self._of(line for line in self._lines if line not in lines)

    def without_extension_comments(self) -> Contents:
        """Only an extension's owner may restore them; CREATE EXTENSION itself passes where it exists."""
        return self._of(line for line in self._lines if not _EXTENSION_COMMENT.match(line))

    def event_triggers_last(self) -> Contents:
        """By themselves they come before materialized views are filled, and see it."""
        return self._of(sorted(self._lines, key=lambda line: bool(_EVENT_TRIGGER.match(line))))

    def data_of(self, tables: Collection[str], sequences: Collection[str], known: Iterable[str]) -> Contents:
        """The rows of *tables* and the positions of *sequences*, all named ``schema.name``.

        :param known: every table of the backup. A line tells a name and its owner with a space between them, and
            both may hold spaces: the longest name that fits is meant.
        :raises VerificationFailed: the rows of a table are not in the archive.
        """
        kept: list[bytes] = []
        for line in self._lines:
            found = _DATA.match(line)
            if found and found["kind"] == b"TABLE DATA":
                kept += [line] if _named(found["name_and_owner"], known) in tables else []
            elif found:
                kept += [line] if _named(found["name_and_owner"], sequences) else []
        rows = sum(b" TABLE DATA " in line for line in kept)
        if rows != len(tables):
            raise VerificationFailed(
                f"The archive holds the rows of {rows} of the {len(tables)} tables: restore the whole backup."
            )
        return self._of(kept)

    @property
    def _lines(self) -> list[bytes]:
        return self.listed.split(b"\n")

    @staticmethod
    def _of(lines: Iterable[bytes]) -> Contents:
        return Contents(b"\n".join(lines))


def _named(name_and_owner: bytes, known: Iterable[str]) -> str | None:
    """Which of the names *known*, as ``schema.name``, a line of the contents tells, as ``schema name owner``."""
    told = name_and_owner.decode(errors="replace")
    fitting = [name for name in known if told.startswith(name.replace(".", " ", 1) + " ")]
    return max(fitting, key=len, default=None)


def body(script: Iterable[bytes], server: int) -> Iterator[bytes]:
    """*script* without its last COMMIT, in words that a server of the major version *server* knows.

    :raises VerificationFailed: the script has no end.
    """
    held = b""
    first = True
    for block in script:
        held += block
        if first and len(held) >= _TAIL:
            first, held = False, _known(held, server)
        if len(held) > _TAIL:
            yield held[:-_TAIL]
            held = held[-_TAIL:]
    if first:
        held = _known(held, server)
    rest, commit, last = held.rpartition(_COMMIT)
    if not commit:
        raise VerificationFailed(
            "The archive is not whole: pg_restore's script has no end. The database was not touched."
        )
    yield rest + _COMMIT.removeprefix(b"\nCOMMIT;") + last


def _known(head: bytes, server: int) -> bytes:
    return head if server >= 17 else head.replace(_TRANSACTION_TIMEOUT, b"\n", 1)
