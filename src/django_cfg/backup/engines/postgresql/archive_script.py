"""What pg_restore makes of an archive: its table of contents, and the script that psql runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from django_cfg.backup.errors import ToolTooOld, VerificationFailed

_EXTENSION_COMMENT = re.compile(rb"\d+; \d+ \d+ COMMENT - EXTENSION ")
_EVENT_TRIGGER = re.compile(rb"\d+; \d+ \d+ ((COMMENT|SECURITY LABEL) - )?EVENT TRIGGER ")
_DATA = re.compile(rb"\d+; \d+ \d+ TABLE DATA (?P<name_and_owner>.*)")
_TABLE = re.compile(rb"\d+; \d+ \d+ TABLE (?!DATA |ATTACH )(?P<name_and_owner>.*)")
_SCHEMA = re.compile(rb"\d+; \d+ \d+ SCHEMA - (?P<name_and_owner>.*)")
# --single-transaction asks for it. Without that option large objects are restored between a BEGIN and a COMMIT of
# their own, which would commit the transaction before the rows are counted.
_COMMIT = b"\nCOMMIT;\n\n--\n-- PostgreSQL database dump complete\n--\n"
_END_BYTES = 4096  # hold it in any case
_BEGINNING_BYTES = 4096  # hold the settings in any case
_MAX_LINE_BYTES = 1 << 20
_RESTRICT = re.compile(rb"(?:--[^\n]*\n|\n)*\\restrict [0-9A-Za-z]+\n")
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

    def data_of(self, tables: Collection[str], known: Iterable[str]) -> Contents:
        """Return the rows of those of *tables*, named ``schema.name``, that are in the archive.

        :param known: every table of the backup.
        """
        return self._of(
            line for line in self.lines if (found := _find_table(line, known, _DATA)) and ".".join(found) in tables
        )

    def divide_rows(self, number: int, sizes: Mapping[str, int]) -> list[tuple[int, Contents]]:
        """Divide the entries of rows among *number* of groups of about the same size; the largest group comes first.

        :param sizes: by table, named ``schema.name``.
        :returns: the size of each group, and its entries in their order.
        """
        known = {name.replace(".", " ", 1): size for name, size in sizes.items()}
        matches = ((line, _DATA.match(line)) for line in self.lines)
        of_rows = {line: _size_of(found["name_and_owner"], known) for line, found in matches if found}
        groups: list[tuple[int, set[bytes]]] = [(0, set()) for _ in range(number)]
        for line, size in sorted(of_rows.items(), key=lambda each: -each[1]):
            smallest, lines = min(groups, key=lambda group: group[0])
            groups[groups.index((smallest, lines))] = (smallest + size, lines | {line})
        in_order = sorted(groups, key=lambda group: -group[0])
        return [(size, self._of(filter(lines.__contains__, self.lines))) for size, lines in in_order]

    @property
    def rows(self) -> Contents:
        """The rows of all tables."""
        return self._of(filter(_DATA.match, self.lines))

    def list_schemas(self, known: Iterable[str]) -> list[str]:
        """Return the schemas of the tables in the archive.

        :param known: every table of the backup, named ``schema.name``.
        """
        found = (_find_table(line, known, _TABLE) for line in self.lines)
        return list(dict.fromkeys(table[0] for table in found if table))

    @staticmethod
    def _of(lines: Iterable[bytes]) -> Contents:
        return Contents(b"\n".join(lines))


def _size_of(name_and_owner: bytes, sizes: Mapping[str, int]) -> int:
    """Return the size of the table, by the longest name that fits; 0 if none does."""
    words = name_and_owner.decode(errors="replace").split(" ")
    names = (" ".join(words[:count]) for count in range(len(words), 0, -1))
    return next((sizes[name] for name in names if name in sizes), 0)


def _find_table(line: bytes, known: Iterable[str], kind: re.Pattern[bytes]) -> tuple[str, str] | None:
    """Return schema and name of the table that *line* is about, if it is of this *kind*.

    A line holds a schema, a name and its owner with spaces between them, and each may hold spaces; a known name is a
    schema and a name with a dot between them, and each may hold dots. The longest one that fits is meant.
    """
    found = kind.match(line)
    if not found:
        return None
    text = found["name_and_owner"].decode(errors="replace")
    parts = ((name[:dot], name[dot + 1 :]) for name in known for dot in _find_dots(name))
    return max((part for part in parts if text.startswith(f"{part[0]} {part[1]} ")), key=_total_length, default=None)


def _find_dots(name: str) -> list[int]:
    return [place for place, character in enumerate(name) if character == "."]


def _total_length(parts: tuple[str, str]) -> int:
    return len(parts[0]) + len(parts[1])


def adapt_script(script: Iterable[bytes], server: int) -> Iterator[bytes]:
    """Yield *script* without its last COMMIT and without a setting that *server* refuses, in lines unless one is huge.

    :param server: the major version of the server.
    :raises ToolTooOld: the script does not keep psql from running commands that are in the archive.
    :raises VerificationFailed: the script has no end.
    """
    source = iter(script)
    buffer = b""
    while len(buffer) < _BEGINNING_BYTES and (block := next(source, b"")):
        buffer += block
    buffer = _adapt_beginning(buffer, server)
    for block in source:
        buffer += block
        complete = buffer.rfind(b"\n", 0, max(len(buffer) - _END_BYTES, 0)) + 1
        end = complete or (len(buffer) - _END_BYTES if len(buffer) > _MAX_LINE_BYTES else 0)
        yield buffer[:end]
        buffer = buffer[end:]
    rest, commit, end_of_script = buffer.rpartition(_COMMIT)
    if not commit:
        raise VerificationFailed(
            "The archive is not complete: pg_restore's script has no end. The database was not touched."
        )
    yield rest + _COMMIT.removeprefix(b"\nCOMMIT;") + end_of_script


def require_restricted(script: bytes) -> None:
    r"""Check that psql may be fed with *script*, or its beginning.

    From ``\restrict`` on psql runs no command of its own, such as ``\!``, until it reads the same random key again.

    :raises ToolTooOld: pg_restore did not write that line.
    """
    if script and not _RESTRICT.match(script):
        raise unrestricted_script()


def unrestricted_script(version: str = "") -> ToolTooOld:
    return ToolTooOld(
        f"This pg_restore{version and ' '}{version} does not keep psql from running commands that are hidden in an "
        "archive (CVE-2025-8714), so its script is not run, and the database was not touched. Install one that does: "
        "13.22, 14.19, 15.14, 16.10, 17.6, 18, or a newer one of these."
    )


def _adapt_beginning(beginning: bytes, server: int) -> bytes:
    require_restricted(beginning)
    return beginning if server >= TRANSACTION_TIMEOUT_SINCE else beginning.replace(_TRANSACTION_TIMEOUT, b"\n", 1)
