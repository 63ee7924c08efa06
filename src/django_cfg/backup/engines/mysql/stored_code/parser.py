"""What a dump holds besides tables and rows: views, triggers, routines and events, each a statement of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from django_cfg.backup.engines.mysql.sql_splitter import Statement
from django_cfg.backup.errors import VerificationFailed

_MARK = rb"(?:/\*M?!\d*\s*|\s*\*/)"  # of what only some versions shall read
_SPACE = rb"(?:\s|" + _MARK + rb"|/\*(?!M?!).*?\*/|--[ \t\n][^\n]*\n|#[^\n]*\n)"
_NAME = rb"(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|[^\s`\"'(.;*/]+)"
_PART = rb"(?:`(?:[^`]|``)*`|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[\w.%$-]+)"
_USER = rb"(?:CURRENT_USER(?:\(\))?|" + _PART + rb"(?:@" + _PART + rb")?)"
_DEFINER = rb"DEFINER\s*=\s*(?P<definer>" + _USER + rb")"
_CREATE = re.compile(
    rb"\s*" + _MARK + rb"?(?P<create>CREATE)" + _SPACE + rb"+(?:OR REPLACE" + _SPACE + rb"+)?"
    rb"(?:(?P<algorithm>ALGORITHM)\s*=\s*\w+" + _SPACE + rb"+)?"
    rb"(?P<by>(?:" + _DEFINER + _SPACE + rb"+)?)(?:SQL SECURITY \w+" + _SPACE + rb"+)?(?:AGGREGATE" + _SPACE + rb"+)?"
    rb"(?P<kind>VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT|PACKAGE BODY|PACKAGE)" + _SPACE + rb"+"
    rb"(?:IF NOT EXISTS" + _SPACE + rb"+)?(?P<schema>" + _NAME + rb"\s*\.\s*)?(?P<name>" + _NAME + rb")",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_TRIGGER_TABLE = re.compile(
    _SPACE + rb"+(?:BEFORE|AFTER)" + _SPACE + rb"+(?:INSERT|UPDATE|DELETE)" + _SPACE + rb"+ON" + _SPACE + rb"+"
    rb"(?P<schema>" + _NAME + rb"\s*\.\s*)?(?P<table>" + _NAME + rb")",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_ENABLED = re.compile(rb"(ON COMPLETION (?:NOT )?PRESERVE )ENABLE\b")
_OTHER_CODE = re.compile(
    rb"\s*" + _MARK + rb"?DROP" + _SPACE + rb"+(?:VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT|PACKAGE)\b", re.IGNORECASE
)
_SET = re.compile(
    rb"\s*" + _MARK + rb"?SET" + _SPACE + rb"+(?P<name>\w+)\s*=\s*(?P<value>.*?)" + _SPACE + rb"*$", re.I | re.S
)
_ALTER_DATABASE = re.compile(
    rb"\s*" + _MARK + rb"?ALTER DATABASE `(?:[^`]|``)*` CHARACTER SET (?P<charset>\w+) COLLATE (?P<collation>\w+)", re.I
)
_SESSION = {
    b"character_set_client": b"utf8mb4",
    b"collation_connection": b"utf8mb4_general_ci",
    b"sql_mode": b"'NO_AUTO_VALUE_ON_ZERO'",
    b"time_zone": b"'+00:00'",
}
_DATABASE = b"database"
# What others build upon comes first; events last, since they begin to run.
_ORDER = ("function", "procedure", "package", "package body", "view", "trigger", "event")


@dataclass(frozen=True)
class Item:
    """A view, trigger, routine or event, and the session in which its text means what it meant."""

    kind: str  # in lower case
    name: str
    text: bytes
    session: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def definer(self) -> str:
        return definer(self.text)

    @property
    def rank(self) -> int:
        return _ORDER.index(self.kind)

    def __str__(self) -> str:
        return f"the {self.kind} {self.name}"

    def settings(self) -> list[bytes]:
        """The statements that make a session the item's."""
        values = {name: self.session.get(name, usual) for name, usual in _SESSION.items()}
        return [b"SET " + name + b" = " + value for name, value in values.items()]

    def database_charset(self) -> bytes:
        """The character set of the database in which the item was made, where the dump tells; else nothing."""
        return self.session.get(_DATABASE, b"")

    def without_definer(self) -> Item:
        """The same, belonging to whoever makes it."""
        return self._edited("by", b"")

    def replacing(self) -> Item:
        """The same in the place of another of its name; a routine replaced this way keeps its grants (MariaDB)."""
        return self._edited("create", b"CREATE OR REPLACE")

    def disabled(self) -> Item:
        """An event that does not run."""
        found = _head(self.text)
        head, body = self.text[: found.end()], self.text[found.end() :]
        return replace(self, text=head + _ENABLED.sub(rb"\1DISABLE", body, count=1))

    def _edited(self, group: str, new: bytes) -> Item:
        start, end = _head(self.text).span(group)
        marks = b"".join(re.findall(_MARK, self.text[start:end]))  # those that open and close have to stay pairs
        return replace(self, text=self.text[:start] + new + marks + self.text[end:])


class Reader:
    """Finds the items among the statements of a dump, which set the session for each as they go."""

    def __init__(self) -> None:
        self._session: dict[bytes, bytes] = {}

    def read(self, statement: Statement) -> tuple[bool, Item | None]:
        """Whether *statement* is code, and the item it makes if it makes one."""
        text = statement.text
        if setting := _SET.match(text):
            self._set(setting["name"].lower(), setting["value"])
            return False, None
        if altered := _ALTER_DATABASE.match(text):
            self._session[_DATABASE] = b"CHARACTER SET " + altered["charset"] + b" COLLATE " + altered["collation"]
            return True, None
        if _OTHER_CODE.match(text):
            return True, None
        if found := _CREATE.match(text):
            return True, self._item(found, text)
        return False, None

    def _set(self, name: bytes, value: bytes) -> None:
        if name not in _SESSION:
            return
        if value.startswith(b"@"):
            self._session.pop(name, None)  # as it was before
        else:
            self._session[name] = value

    def _item(self, found: re.Match[bytes], text: bytes) -> Item | None:
        kind = found["kind"].decode().lower()
        if kind == "view" and not found["algorithm"]:
            return None  # a placeholder that lets views refer to one another in any order
        return Item(kind, _plain(found["name"]), _unqualified(found, text), dict(self._session))


def definer(text: bytes) -> str:
    """Whose item *text* makes, as SQL writes it; empty for anything else."""
    found = _CREATE.match(text)
    return (found["definer"] or b"").decode(errors="replace") if found else ""


def _head(text: bytes) -> re.Match[bytes]:
    if found := _CREATE.match(text):
        return found
    raise VerificationFailed(f"This is no statement that makes a view, trigger, routine or event: {text[:80]!r}")


def _unqualified(found: re.Match[bytes], text: bytes) -> bytes:
    """*text* without the schema that a trigger's author wrote before its name and its table's."""
    cuts = [found.span("schema")]
    if found["kind"].upper() == b"TRIGGER" and (table := _TRIGGER_TABLE.match(text, found.end())):
        cuts.append(table.span("schema"))
    for start, end in reversed(cuts):
        text = text[: max(start, 0)] + text[max(end, 0) :]
    return text


def _plain(name: bytes) -> str:
    quote = name[:1]
    if quote in (b"`", b'"'):
        name = name[1:-1].replace(quote * 2, quote)
    return name.decode(errors="surrogateescape")
