"""The statements of a dump that create views, triggers, routines and events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from django_cfg.backup.engines.mysql.sql_splitter import Statement
from django_cfg.backup.errors import VerificationFailed

_MARK = rb"(?:/\*M?!\d*\s*|\s*\*/)"  # the start or end of a comment whose text only some versions execute
# Possessive: what has been read as space is not read again in another way, of which there may be very many.
_SPACE = rb"(?:\s|/\*M?!\d*|\*/|/\*(?!M?!)(?>.*?\*/)|--[ \t\n][^\n]*\n|#[^\n]*\n)"
_SPACES = _SPACE + rb"++"
_NAME = rb"(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|[^\s`\"'(.;*/]+)"
_PART = rb"(?:`(?:[^`]|``)*`|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[\w.%$-]+)"
_USER = rb"(?:CURRENT_USER(?:\(\))?|" + _PART + rb"(?:@" + _PART + rb")?)"
_DEFINER = rb"DEFINER\s*=\s*(?P<definer>" + _USER + rb")"
_CREATE = re.compile(
    rb"\s*" + _MARK + rb"?(?P<create>CREATE)" + _SPACES + rb"(?:OR REPLACE" + _SPACES + rb")?"
    rb"(?:(?P<algorithm>ALGORITHM)\s*=\s*\w+" + _SPACES + rb")?"
    rb"(?P<by>(?:" + _DEFINER + _SPACES + rb")?)(?:SQL SECURITY \w+" + _SPACES + rb")?(?:AGGREGATE" + _SPACES + rb")?"
    rb"(?P<kind>VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT|PACKAGE BODY|PACKAGE)" + _SPACES + rb""
    rb"(?:IF NOT EXISTS" + _SPACES + rb")?(?P<schema>" + _NAME + rb"\s*\.\s*)?(?P<name>" + _NAME + rb")",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_TRIGGER_TABLE = re.compile(
    _SPACES + rb"(?:BEFORE|AFTER)" + _SPACES + rb"(?:INSERT|UPDATE|DELETE)" + _SPACES + rb"ON" + _SPACES + rb""
    rb"(?P<schema>" + _NAME + rb"\s*\.\s*)?(?P<table>" + _NAME + rb")",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_ENABLED = re.compile(rb"(ON COMPLETION (?:NOT )?PRESERVE )ENABLE\b")
_DROP = re.compile(
    rb"\s*" + _MARK + rb"?DROP" + _SPACES + rb"(?:VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT|PACKAGE)\b", re.IGNORECASE
)
_SET = re.compile(rb"\s*" + _MARK + rb"?SET" + _SPACES + rb"(?P<name>\w+)\s*=\s*", re.I)
_AFTER_VALUE = b" \t\r\n*/"  # the end of a comment that only some versions execute
_ALTER_DATABASE = re.compile(
    rb"\s*" + _MARK + rb"?ALTER DATABASE `(?:[^`]|``)*` CHARACTER SET (?P<charset>\w+) COLLATE (?P<collation>\w+)", re.I
)
_SESSION_DEFAULTS = {
    b"character_set_client": b"utf8mb4",
    b"collation_connection": b"utf8mb4_general_ci",
    b"sql_mode": b"'NO_AUTO_VALUE_ON_ZERO'",
    b"time_zone": b"'+00:00'",
}
_DATABASE = b"database"
# What others are built upon comes first; events last, since they begin to run.
_ORDER = ("function", "procedure", "package", "package body", "view", "trigger", "event")


@dataclass(frozen=True)
class StoredObject:
    """A view, trigger, routine or event, with the session variables under which its text was written."""

    kind: str  # in lower case
    name: str
    text: bytes
    session: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def definer(self) -> str:
        return find_definer(self.text)

    @property
    def rank(self) -> int:
        """The place of its kind in the order of creation."""
        return _ORDER.index(self.kind)

    @property
    def database_charset(self) -> bytes:
        """The character set of the database in which it was created, if the dump sets it; else empty."""
        return self.session.get(_DATABASE, b"")

    def session_statements(self) -> list[bytes]:
        """Return the statements that set its session variables."""
        values = {name: self.session.get(name, default) for name, default in _SESSION_DEFAULTS.items()}
        return [b"SET " + name + b" = " + value for name, value in values.items()]

    def without_definer(self) -> StoredObject:
        """Return the same object; it will belong to the user that creates it."""
        return self._with_replaced("by", b"")

    def with_replace(self) -> StoredObject:
        """Return the same object with CREATE OR REPLACE; a routine replaced in this way keeps its grants (MariaDB)."""
        return self._with_replaced("create", b"CREATE OR REPLACE")

    def disabled(self) -> StoredObject:
        """Return the same event, which does not run."""
        end = _match_create(self.text).end()
        return replace(self, text=self.text[:end] + _ENABLED.sub(rb"\1DISABLE", self.text[end:], count=1))

    def _with_replaced(self, group: str, new: bytes) -> StoredObject:
        start, end = _match_create(self.text).span(group)
        marks = b"".join(re.findall(_MARK, self.text[start:end]))  # those that open and close have to stay pairs
        return replace(self, text=self.text[:start] + new + marks + self.text[end:])


class StoredCodeParser:
    """Finds views, triggers, routines and events among the statements of a dump, which also set session variables."""

    def __init__(self) -> None:
        self._session: dict[bytes, bytes] = {}

    def read(self, statement: Statement) -> tuple[bool, StoredObject | None]:
        """Return whether *statement* belongs to stored code, and the object that it creates, if any."""
        text = statement.text
        if setting := _SET.match(text):
            self._set(setting["name"].lower(), text[setting.end() :].rstrip(_AFTER_VALUE))
            return False, None
        if altered := _ALTER_DATABASE.match(text):
            self._session[_DATABASE] = b"CHARACTER SET " + altered["charset"] + b" COLLATE " + altered["collation"]
            return True, None
        if _DROP.match(text):
            return True, None
        if found := _CREATE.match(text):
            return True, self._build_object(found, text)
        return False, None

    def _set(self, name: bytes, value: bytes) -> None:
        if name not in _SESSION_DEFAULTS:
            return
        if value.startswith(b"@"):
            self._session.pop(name, None)  # reset to the value saved before
        else:
            self._session[name] = value

    def _build_object(self, found: re.Match[bytes], text: bytes) -> StoredObject | None:
        kind = found["kind"].decode().lower()
        if kind == "view" and not found["algorithm"]:
            return None  # a placeholder, by which views can refer to one another in any order
        return StoredObject(kind, _unquote(found["name"]), _remove_schema(found, text), dict(self._session))


def find_definer(text: bytes) -> str:
    """Return the DEFINER of the statement *text* as SQL writes it; empty if there is none."""
    found = _CREATE.match(text)
    return (found["definer"] or b"").decode(errors="replace") if found else ""


def _match_create(text: bytes) -> re.Match[bytes]:
    if found := _CREATE.match(text):
        return found
    raise VerificationFailed(f"This statement creates no view, trigger, routine or event: {text[:80]!r}")


def _remove_schema(found: re.Match[bytes], text: bytes) -> bytes:
    """Remove the schema that the author of a trigger wrote before its name and its table's."""
    spans = [found.span("schema")]
    if found["kind"].upper() == b"TRIGGER" and (table := _TRIGGER_TABLE.match(text, found.end())):
        spans.append(table.span("schema"))
    for start, end in reversed(spans):
        text = text[: max(start, 0)] + text[max(end, 0) :]
    return text


def _unquote(name: bytes) -> str:
    quote = name[:1]
    if quote in (b"`", b'"'):
        name = name[1:-1].replace(quote * 2, quote)
    return name.decode(errors="surrogateescape")
