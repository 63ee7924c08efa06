"""The definition of a table as the server writes it, split into what rows need and what can be added after them.

InnoDB sorts the entries of an index that is added to a filled table, and writes its pages in order; into an index that
is there before the rows it inserts each entry at its place. ``ALTER TABLE ... DISABLE KEYS``, which is in a dump, does
nothing for InnoDB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_STRING = rb"'(?:[^'\\]++|\\.)*+'"
_NAME = rb"`(?:[^`]|``)*+`"
_HEAD = re.compile(rb"CREATE TABLE (?:IF NOT EXISTS )?(?P<name>" + _NAME + rb") \(")
_TOKEN = re.compile(_STRING + rb"|`[^`]*+`|[(),]|/\*|['\"`]", re.DOTALL)
_UNREADABLE = (b"/*", b"'", b'"', b"`")  # a comment, or a string without an end: the server writes neither
_STRINGS = re.compile(_STRING, re.DOTALL)
_INNODB = re.compile(rb"\)\s*ENGINE=InnoDB\b")
_UNIQUE_KEY, _PRIMARY_KEY = b"UNIQUE KEY `", b"PRIMARY KEY "
_KEYS = (b"KEY `", _UNIQUE_KEY)  # FULLTEXT and SPATIAL are not sorted
_FOREIGN_KEY = re.compile(rb"CONSTRAINT " + _NAME + rb" FOREIGN KEY ")
_PERIOD, _VERSIONED = b"PERIOD FOR ", b"WITH SYSTEM VERSIONING"  # what is altered loses the history of its rows
_COPIED = (b"USING HASH", b"WITHOUT OVERLAPS")  # to add one of these the server copies the table


@dataclass(frozen=True)
class SplitDefinition:
    """Two statements: the one that creates a table, and the one that adds its indexes and foreign keys."""

    table: bytes
    indexes: bytes


def read_name(text: bytes) -> str:
    """Return the name of the table that *text* creates, or "" if it creates none."""
    head = _HEAD.match(text)
    return head["name"][1:-1].replace(b"``", b"`").decode(errors="surrogateescape") if head else ""


def split_definition(text: bytes) -> SplitDefinition | None:
    """Split off the secondary indexes and foreign keys; None: *text* has none that can be added after the rows.

    :param text: CREATE TABLE, as ``SHOW CREATE TABLE`` of MariaDB writes it.
    """
    head = _HEAD.match(text)
    items, end = _list_items(text, head.end()) if head else ([], 0)
    is_versioned = _VERSIONED in text[end:] or any(item.startswith(_PERIOD) for item in items)
    if not head or is_versioned or not _INNODB.match(text, end):
        return None
    needed = _list_needed(items)
    keys = [item for item in items if item.startswith(_KEYS) and not any(text in item for text in needed)]
    if not keys:
        return None
    later = keys + [item for item in items if _FOREIGN_KEY.match(item)]  # without its index one would be made for it
    kept = b",\n  ".join(item for item in items if item not in later)
    added = b",\n  ".join(b"ADD " + item for item in later)
    return SplitDefinition(
        text[: head.end()] + b"\n  " + kept + b"\n" + text[end:], b"ALTER TABLE " + head["name"] + b"\n  " + added
    )


def _list_items(text: bytes, at: int) -> tuple[list[bytes], int]:
    """Return the columns, keys and constraints that begin at *at*, and where the parenthesis after them is.

    No items: the text cannot be read.
    """
    items, depth, start = [], 0, at
    for token in _TOKEN.finditer(text, at):
        if token[0] in _UNREADABLE:
            break
        if token[0] == b"(":
            depth += 1
        elif depth and token[0] == b")":
            depth -= 1
        elif not depth and token[0] in (b",", b")"):
            items.append(text[start : token.start()].strip())
            start = token.end()
            if token[0] == b")":
                return items, token.start()
    return [], 0


def _list_needed(items: list[bytes]) -> list[bytes]:
    """Return texts that mark the indexes which a table needs from its beginning."""
    needed = [*_COPIED]
    if not any(item.startswith(_PRIMARY_KEY) for item in items):
        needed.append(_UNIQUE_KEY)  # InnoDB keeps the rows in the order of the first one
    counted = (item for item in items if item.startswith(b"`") and b" AUTO_INCREMENT" in _STRINGS.sub(b"", item))
    names = (re.match(_NAME, item) for item in counted)  # of columns that have to have an index
    return needed + [name[0] for name in names if name]
