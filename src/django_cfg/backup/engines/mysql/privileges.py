"""The privileges of the user. Without some of them, triggers and routines are missing from a dump without an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django_cfg.backup.engines.mysql.session import Session, escape_like, quote_literal, quote_name
from django_cfg.backup.errors import DatabaseUnavailable, RestoreRefused

_DUMP_PRIVILEGES = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
RESTORE_PRIVILEGES = (
    *("SELECT", "INSERT", "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES"),
    *("CREATE VIEW", "SHOW VIEW", "TRIGGER", "EVENT", "CREATE ROUTINE", "ALTER ROUTINE"),
)
_ALL = "ALL PRIVILEGES"
# Any of these on the database lists its routines; dumping a routine whose text is hidden is an error of the program.
_LIST_ROUTINES = {"EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE", "SHOW CREATE ROUTINE", _ALL}
# So does any of these on all schemas of the server.
_READ_ROUTINES = {"SELECT", "SHOW CREATE ROUTINE", "SHOW_ROUTINE", _ALL}
_GRANT = re.compile(r"GRANT (?P<privileges>.+?) ON (?:(?:TABLE|FUNCTION|PROCEDURE) )?(?P<on>.+?) TO ", re.DOTALL)
_COLUMN_LIST = re.compile(r"\([^)]*\)")
_SCOPE = re.compile(r"(?P<schema>\*|`(?:[^`]|``)*`)\.(?P<name>\*|`(?:[^`]|``)*`)$")


@dataclass(frozen=True)
class Grant:
    """Privileges on a scope: ``*.*``, ``schema.*`` with wildcards, or one object."""

    privileges: frozenset[str]
    schema: str
    name: str

    def covers(self, database: str) -> bool:
        return self.name == "*" and (self.schema == "*" or _matches(self.schema, database))

    @property
    def opens_all_routines(self) -> bool:
        if self.schema == "*":
            return bool(self.privileges & _READ_ROUTINES)
        return self.schema == "mysql" and self.name in ("*", "proc") and bool(self.privileges & {"SELECT", _ALL})


def require_dump_privileges(session: Session) -> None:
    """Raise DatabaseUnavailable if the user may not read everything: a dump could lack something without an error."""
    grants = list(_read_grants(session))
    missing = _find_missing(session, grants, _DUMP_PRIVILEGES)
    can_list_routines = any(grant.covers(session.database) and grant.privileges & _LIST_ROUTINES for grant in grants)
    if not can_list_routines and not any(grant.opens_all_routines for grant in grants):
        missing.append("EXECUTE")
    if missing:
        raise DatabaseUnavailable(
            f"{describe_user(session)} may not see everything in the database {session.alias!r}, so a backup could "
            f"lack tables, triggers or routines without an error: {_build_grant(session, missing)} (docs/mysql.md "
            "lists what a backup needs)."
        )


def require_restore_privileges(session: Session, *more: str) -> None:
    """Raise RestoreRefused if the user might drop objects of the database and not be allowed to create them again.

    :param more: privileges that this restore needs in addition.
    """
    if missing := _find_missing(session, list(_read_grants(session)), (*RESTORE_PRIVILEGES, *more)):
        raise RestoreRefused(
            f"{describe_user(session)} may not do all that a restore of the database {session.alias!r} needs: "
            f"{_build_grant(session, missing)}, or name another user in BackupDatabaseConfig.connection "
            "(docs/mysql.md)."
        )


def describe_user(session: Session) -> str:
    """Return the beginning of a message about the user of *session*."""
    return f"The user {session.fetch_value('SELECT CURRENT_USER()')}"


def _find_missing(session: Session, grants: Iterable[Grant], needed: Iterable[str]) -> list[str]:
    held = {privilege for grant in grants if grant.covers(session.database) for privilege in grant.privileges}
    return [] if _ALL in held else [privilege for privilege in needed if privilege not in held]


def _build_grant(session: Session, privileges: Iterable[str]) -> str:
    """Return the statement that gives *privileges* to the user."""
    name, _, host = str(session.fetch_value("SELECT CURRENT_USER()")).rpartition("@")
    scope = f"{quote_name(escape_like(session.database))}.*"
    return f"GRANT {', '.join(privileges)} ON {scope} TO {quote_literal(name)}@{quote_literal(host)}"


def _read_grants(session: Session) -> Iterator[Grant]:
    """Read the grants of the user and of its active roles; those on single columns give no privilege."""
    for (line,) in session.fetch_rows("SHOW GRANTS"):
        found = _GRANT.match(line)
        if found and (scope := _SCOPE.match(found["on"])):
            privileges = (each.strip() for each in _COLUMN_LIST.sub("(", found["privileges"]).split(","))
            unrestricted = frozenset(privilege for privilege in privileges if not privilege.endswith("("))
            yield Grant(unrestricted, _unquote(scope["schema"]), _unquote(scope["name"]))


def _unquote(name: str) -> str:
    return name.removeprefix("`").removesuffix("`").replace("``", "`")


def _matches(pattern: str, database: str) -> bool:
    r"""Match ``_`` with any character and ``%`` with any text, unless they follow a backslash."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    expression = "".join({"_": ".", "%": ".*"}.get(part) or re.escape(part[-1]) for part in parts)
    return re.fullmatch(expression, database, re.DOTALL) is not None
