"""Whether a server can take what a backup holds, as far as that can be told before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django_cfg.backup.engines.base import Database, Finding, Level
from django_cfg.backup.engines.mysql.connection import connected
from django_cfg.backup.engines.mysql.error_text import number
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.sql_splitter import Statement
from django_cfg.backup.engines.mysql.stored_code.contents import contents
from django_cfg.backup.engines.mysql.tools import series
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.manifest import Manifest

_MAKING = (b"CREATE TABLE", b"ALTER DATABASE", b"SET ")
_MARK = re.compile(rb"\s*/\*M?!\d*\s*")
_TEXT = re.compile(rb"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`", re.DOTALL)
_COLLATION = re.compile(rb"\b(?:COLLATE|collation_connection)(?:\s*=\s*|\s+)(\w+)", re.IGNORECASE)
_CHARSET = re.compile(rb"\b(?:CHARSET|CHARACTER SET|character_set_client)(?:\s*=\s*|\s+)(\w+)", re.IGNORECASE)
_UNKNOWN_CHARSET, _UNKNOWN_COLLATION = 1115, 1273


class Wanted:
    """The character sets and collations that a dump names, gathered from its statements."""

    def __init__(self) -> None:
        self.collations: set[str] = set()
        self.charsets: set[str] = set()

    def look(self, statement: Statement) -> None:
        text = statement.text
        begun = _MARK.match(text)
        if text.startswith(_MAKING, begun.end() if begun else 0):
            bare = _TEXT.sub(b"''", text)
            self.collations.update(name.decode() for name in _COLLATION.findall(bare))
            self.charsets.update(name.decode() for name in _CHARSET.findall(bare))


def refuse_unknown(database: Database, manifest: Manifest, wanted: Wanted) -> None:
    """
    :raises RestoreRefused: the server of *database* does not have all that is *wanted*; nothing was touched.
    """
    with connected(database) as session:
        unknown = [name for name in sorted(wanted.charsets) if not _knows_charset(session, name)]
        unknown += [name for name in sorted(wanted.collations) if not _knows_collation(session, name)]
        if unknown:
            raise RestoreRefused(
                f"{manifest.name} uses {', '.join(unknown)}, and the server of the database {database.alias!r} "
                f"({session.server}) knows no character set or collation of that name. Nothing was touched: upgrade "
                "the server, or restore the backup on another one (--to)."
            )


def refuse_older_in_place(session: Session, alias: str, manifest: Manifest) -> None:
    """
    :raises RestoreRefused: the server may stumble over the backup when the database has been emptied for it.
    """
    if is_older(session, manifest) and contents(session, session.database).tables:
        raise RestoreRefused(
            f"{_newer(session, manifest)}. It may hold what this older server does not know, and a restore in place "
            f"would find out when the database {alias!r} has been emptied. Let the user make a schema beside it "
            "(docs/mysql.md) and leave out --in-place, or restore into an empty database (--to ALIAS)."
        )


def findings(session: Session, alias: str, manifest: Manifest, *, is_beside: bool) -> Iterator[Finding]:
    """A warning where the server is older than the one that the backup was made on."""
    if is_older(session, manifest):
        then = ", and nothing is touched then" if is_beside else ""
        yield Finding(
            Level.WARNING,
            alias,
            f"{_newer(session, manifest)}: what this older server does not know makes the restore fail{then}",
        )


def is_older(session: Session, manifest: Manifest) -> bool:
    return series(session.version) < series(manifest.engine.server_version)


def _newer(session: Session, manifest: Manifest) -> str:
    return f"{manifest.name} is of version {manifest.engine.server_version}, and the server is {session.server}"


def _knows_charset(session: Session, name: str) -> bool:
    return _takes(session, f"DO CONVERT('' USING {name})", _UNKNOWN_CHARSET)


def _knows_collation(session: Session, name: str) -> bool:
    return _takes(session, f"SET SESSION collation_connection = {name}", _UNKNOWN_COLLATION)


def _takes(session: Session, statement: str, unknown: int) -> bool:
    try:
        session.execute(statement)
    except Exception as error:
        if number(error) != unknown:
            raise
        return False
    return True
