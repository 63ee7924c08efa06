"""A dump of mysqldump or mariadb-dump that this package did not make: is it complete, and does it stay in its database?

Loaded into a staging schema, a statement such as USE would lead the client out of it, into the live database.
"""

from __future__ import annotations

import re

from django_cfg.backup.engines.base import ForeignDump
from django_cfg.backup.engines.mysql.dump_scanner import DumpScanner
from django_cfg.backup.engines.mysql.sql_splitter import Statement
from django_cfg.backup.engines.mysql.stored_code.parser import StoredCodeParser
from django_cfg.backup.errors import RestoreRefused, VerificationFailed
from django_cfg.backup.manifest import EngineFacts
from django_cfg.backup.pipeline.stream import PeekableReader, Readable, blocks

_HEAD = 1 << 14  # bytes, in which the header is
_PROGRAM = re.compile(rb"^-- (?P<name>MySQL|MariaDB) dump \S+?(?:-|\s+Distrib )(?P<version>\d[\w.-]*)", re.MULTILINE)
_SERVER = re.compile(rb"^-- Server version\s+(?P<version>\d[\w.+~-]*)", re.MULTILINE)
_TOOLS = {b"MySQL": "mysqldump", b"MariaDB": "mariadb-dump"}
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_MARK = re.compile(rb"\s*(?:/\*M?!\d*\s*)?")  # of a comment whose text only some versions execute
_OF_ONE_TABLE = rb"`(?:[^`]|``)*`(?!\s*\.)"  # its name without that of a database
_ALLOWED = re.compile(
    rb"(?:SET\s(?!.*?(?:\bGLOBAL\b|\bPERSIST|\bPASSWORD\b|\bROLE\b))"
    rb"|UNLOCK TABLES|START TRANSACTION|COMMIT"
    rb"|(?:CREATE TABLE(?: IF NOT EXISTS)?|DROP TABLE IF EXISTS|LOCK TABLES|ALTER TABLE|ANALYZE TABLE"
    rb"|CREATE SEQUENCE(?: IF NOT EXISTS)?|DROP SEQUENCE IF EXISTS) " + _OF_ONE_TABLE + rb"|(?:DO|SELECT) SETVAL\()",
    re.IGNORECASE | re.DOTALL,
)
_OF_DATABASE = re.compile(rb"(?:USE|CREATE DATABASE|DROP DATABASE)\b", re.IGNORECASE)
_WORDS = re.compile(rb"[A-Za-z]+(?:\s+[A-Za-z]+){0,2}")  # how a statement begins, without a name or a value


def examine_foreign(plain: Readable, name: str) -> ForeignDump:
    """Read the dump *name* to its end.

    :raises VerificationFailed: it is not complete.
    :raises RestoreRefused: it holds statements that no dump of one database has.
    """
    source = PeekableReader(plain)
    facts = _read_header(source.peek(_HEAD), name)
    scanner = _ForeignScanner(name)
    for block in blocks(source):
        scanner.feed(block)
    if not scanner.is_complete:
        raise VerificationFailed(
            f"{name} is not a complete dump: its end mark is missing (`-- Dump completed`, the last line). It was cut "
            "short, or made with --skip-comments or --compact, so that this cannot be distinguished."
        )
    definers = tuple(sorted(scanner.definers))
    return ForeignDump(facts.model_copy(update={"roles": definers, "largest_statement": scanner.largest[0]}))


def _read_header(head: bytes, name: str) -> EngineFacts:
    program, server = _PROGRAM.search(head), _SERVER.search(head)
    if not program or not server:
        raise RestoreRefused(
            f"{name} does not begin as mysqldump and mariadb-dump do (`-- MySQL dump`, `-- Server version`): what "
            "wrote it, and for which server, is not known. Load it into a database of its own with the program that "
            "fits it, and back that one up with backup_create."
        )
    version = server["version"].decode()
    return EngineFacts(
        vendor="mariadb" if "mariadb" in version.lower() else "mysql",
        server_version=_number(version),
        tool=_TOOLS[program["name"]],
        tool_version=_number(program["version"].decode()),
        format="sql",
    )


def _number(version: str) -> str:
    found = _NUMBER.match(version)
    return found[0] if found else version


class _ForeignScanner(DumpScanner):
    """Refuses what would not stay in the schema that a restore loads."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._stored_code = StoredCodeParser()

    def _scan_statement(self, statement: Statement) -> None:
        begin = _MARK.match(statement.text)
        at = begin.end() if begin else 0
        is_code, _ = self._stored_code.read(statement)
        if not is_code and not _ALLOWED.match(statement.text, at):
            raise self._refused(statement.text[at:])
        super()._scan_statement(statement)

    def _refused(self, text: bytes) -> RestoreRefused:
        if _OF_DATABASE.match(text):
            return RestoreRefused(
                f"{self._name} names the databases that it writes into (mysqldump --databases or --all-databases): "
                "loading it would overwrite them, wherever it is loaded. Load it with the mysql or mariadb client into "
                "a server that holds nothing else, and back that database up with backup_create. If it holds one "
                "database only, a copy of it without the lines that begin with CREATE DATABASE and USE can be adopted."
            )
        if b"GTID_PURGED" in text:
            return RestoreRefused(
                f"{self._name} sets the transactions that a replica has seen (SET @@GLOBAL.GTID_PURGED), which would "
                "change the server and not the database. Adopt a copy of it without that statement and without those "
                "about SQL_LOG_BIN; mysqldump --set-gtid-purged=OFF writes none of them."
            )
        words = _WORDS.match(text)
        what = " ".join(words[0].decode().split()) if words else "not SQL"
        return RestoreRefused(
            f"{self._name} holds a statement that no plain dump of one database has ({what} ...): it might change "
            "more than the database that is restored. Remove such statements from a copy of the dump, or load it by "
            "hand into a server that holds nothing else, and back that database up with backup_create."
        )
