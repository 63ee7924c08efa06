"""What pg_restore makes of an archive: its table of contents, and the script that psql runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from django_cfg.backup.errors import VerificationFailed

_EXTENSION_COMMENT = re.compile(rb"\d+; \d+ \d+ COMMENT - EXTENSION ")
_EVENT_TRIGGER = re.compile(rb"\d+; \d+ \d+ (COMMENT - )?EVENT TRIGGER ")
_DATA = re.compile(rb"\d+; \d+ \d+ (?P<kind>TABLE DATA|SEQUENCE SET) (?P<name_and_owner>.*)")
_SCHEMA = re.compile(rb"\d+; \d+ \d+ SCHEMA - (?P<name_and_owner>.*)")
# --single-transaction asks for it. Without that option large objects are restored between a BEGIN and a COMMIT of
# their own, which would commit the transaction before the rows are counted.
_COMMIT = b"\nCOMMIT;\n\n--\n-- PostgreSQL database dump complete\n--\n"
_END_BYTES = 4096  # hold it in any case
_TRANSACTION_TIMEOUT = b"\nSET transaction_timeout = 0;\n"
TRANSACTION_TIMEOUT_SINCE = 17  # the major version from which pg_restore sets it, and servers accept it


@dataclass(frozen=True)
class Contents:
    """The table of contents that ``pg_restore --list`` printed, in the dump's own encoding."""

    text: bytes

    @property
    def lines(self) -> list[bytes]:
        return self.text.split(b"\n")

    def without_schemas(self, names: Iterable[str]) -> Contents:
        """Leave out the schemas *names*, which the target still has: creating them would fail."""
        starts = tuple(name.encode() + b" " for name in names)

        def is_kept(line: bytes) -> bool:
            found = _SCHEMA.match(line)
            return not found or not found["name_and_owner"].startswith(starts)

        return self._of(filter(is_kept, self.lines))

    def without(self, lines: Collection[bytes]) -> Contents:
        return self._of(line for line in self.lines if line not in lines)

    def without_extension_comments(self) -> Contents:
        """Leave out what only an extension's owner may restore; CREATE EXTENSION succeeds if the extension exists."""
        return self._of(line for line in self.lines if not _EXTENSION_COMMENT.match(line))

    def event_triggers_last(self) -> Contents:
        """Move the event triggers behind the materialized views, whose refresh would fire them."""
        return self._of(sorted(self.lines, key=lambda line: bool(_EVENT_TRIGGER.match(line))))

    def data_of(self, tables: Collection[str], sequences: Collection[str], known: Iterable[str]) -> Contents:
        """Return the rows of *tables* and the positions of *sequences*, all named ``schema.name``.

        :param known: every table of the backup. A line holds a name and its owner with a space between them, and
            both may hold spaces: the longest known name that matches is meant.
        :raises VerificationFailed: the rows of a table are not in the archive.
        """
        kept: list[bytes] = []
        rows = 0
        for line in self.lines:
            found = _DATA.match(line)
            if found and found["kind"] == b"TABLE DATA" and _match_name(found["name_and_owner"], known) in tables:
                kept.append(line)
                rows += 1
            elif found and found["kind"] != b"TABLE DATA" and _match_name(found["name_and_owner"], sequences):
                kept.append(line)
        if rows != len(tables):
            raise VerificationFailed(
                f"The archive holds the rows of {rows} of the {len(tables)} tables: restore the complete backup."
            )
        return self._of(kept)

    @staticmethod
    def _of(lines: Iterable[bytes]) -> Contents:
        return Contents(b"\n".join(lines))


def _match_name(name_and_owner: bytes, known: Iterable[str]) -> str | None:
    """Return the one of the names *known*, as ``schema.name``, that ``schema name owner`` begins with."""
    text = name_and_owner.decode(errors="replace")
    matching = [name for name in known if text.startswith(name.replace(".", " ", 1) + " ")]
    return max(matching, key=len, default=None)


def adapt_script(script: Iterable[bytes], server: int) -> Iterator[bytes]:
    """Yield *script* without its last COMMIT, and without a setting that a server of major version *server* refuses.

    :raises VerificationFailed: the script has no end.
    """
    buffer = b""
    is_beginning = True
    for block in script:
        buffer += block
        if len(buffer) > _END_BYTES:
            buffer = _adapt_beginning(buffer, server) if is_beginning else buffer
            is_beginning = False
            yield buffer[:-_END_BYTES]
            buffer = buffer[-_END_BYTES:]
    if is_beginning:
        buffer = _adapt_beginning(buffer, server)
    rest, commit, end = buffer.rpartition(_COMMIT)
    if not commit:
        raise VerificationFailed(
            "The archive is not complete: pg_restore's script has no end. The database was not touched."
        )
    yield rest + _COMMIT.removeprefix(b"\nCOMMIT;") + end


def _adapt_beginning(block: bytes, server: int) -> bytes:
    return block if server >= TRANSACTION_TIMEOUT_SINCE else block.replace(_TRANSACTION_TIMEOUT, b"\n", 1)
