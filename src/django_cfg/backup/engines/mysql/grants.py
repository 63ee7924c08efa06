"""What the user may see. Without a right, triggers and routines are missing from a dump in silence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django_cfg.backup.engines.mysql.session import Session, literal
from django_cfg.backup.errors import DatabaseUnavailable, RestoreRefused

_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?:(?:TABLE|FUNCTION|PROCEDURE) )?(?P<on>.+?) TO ", re.DOTALL)
_COLUMNS = re.compile(r"\([^)]*\)")
_NEEDED = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
_RESTORING = (
    *("SELECT", "INSERT", "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES"),
    *("CREATE VIEW", "SHOW VIEW", "TRIGGER", "EVENT", "CREATE ROUTINE", "ALTER ROUTINE"),
)
_ALL = "ALL PRIVILEGES"
# Any of these on the database lists its routines; dumping one whose text is hidden fails by itself.
_LISTING = {"EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE", "SHOW CREATE ROUTINE"}
# Any of these everywhere does, too.
_READING = {"SELECT", "SHOW CREATE ROUTINE", "SHOW_ROUTINE"}


@dataclass(frozen=True)
class Grant:
    """Rights on a scope: ``*.*``, ``schema.*`` with its wildcards, or one object."""

    rights: frozenset[str]
    schema: str
    thing: str

    def covers(self, database: str) -> bool:
        return self.thing == "*" and (self.schema == "*" or _matches(self.schema, database))


def require_whole_view(session: Session, alias: str) -> None:
    """
    :raises DatabaseUnavailable: the user may not read everything there may be, so a dump could lack something unseen.
    """
    grants = list(_grants(session))
    lacking = _lacking(session, grants, _NEEDED)
    if not (_held(session, grants) & {*_LISTING, _ALL} or _reads_routines(grants)):
        lacking.append("EXECUTE")
    if lacking:
        raise DatabaseUnavailable(
            f"{user(session)} may not see everything in the database {alias!r}, so a backup could lack tables, "
            f"triggers or routines without a sign of it: {_grant(session, lacking)} (docs/mysql.md lists what a backup "
            "needs)."
        )


def require_every_right(session: Session, alias: str, *more: str) -> None:
    """
    :param more: rights that this restore needs besides.
    :raises RestoreRefused: the user may drop some things in the database and not make all of them again.
    """
    if lacking := _lacking(session, list(_grants(session)), (*_RESTORING, *more)):
        raise RestoreRefused(
            f"{user(session)} may not do all that a restore of the database {alias!r} needs: "
            f"{_grant(session, lacking)}, or name another user in BackupDatabaseConfig.connection (docs/mysql.md)."
        )


def _held(session: Session, grants: Iterable[Grant]) -> set[str]:
    return {right for grant in grants if grant.covers(session.database) for right in grant.rights}


def _lacking(session: Session, grants: Iterable[Grant], needed: Iterable[str]) -> list[str]:
    held = _held(session, grants)
    return [] if _ALL in held else [right for right in needed if right not in held]


def user(session: Session) -> str:
    """Who we are to the server, for the beginning of a message."""
    return f"The user {session.value('SELECT CURRENT_USER()')}"


def _grant(session: Session, rights: Iterable[str]) -> str:
    """The statement that gives *rights* to the user."""
    name, _, host = str(session.value("SELECT CURRENT_USER()")).rpartition("@")
    return f"GRANT {', '.join(rights)} ON {_scope(session)} TO {literal(name)}@{literal(host)}"


def _reads_routines(grants: Iterable[Grant]) -> bool:
    """Whether all routines of the server are open to the user."""
    return any(
        (grant.schema == "*" and grant.rights & {*_READING, _ALL})
        or (grant.schema == "mysql" and grant.thing in ("*", "proc") and grant.rights & {"SELECT", _ALL})
        for grant in grants
    )


def _grants(session: Session) -> Iterator[Grant]:
    """Those of the user and of the roles it has on."""
    for (line,) in session.rows("SHOW GRANTS"):
        if found := _GRANT.match(line):
            schema, _, thing = _unquoted(found["on"])
            rights = (right.strip() for right in _COLUMNS.sub("(", found["rights"]).split(","))
            yield Grant(frozenset(right for right in rights if not right.endswith("(")), schema, thing)


def _unquoted(scope: str) -> tuple[str, str, str]:
    """``shop\\_%`` and ``*`` of ```shop\\_%`.*``."""
    name = r"(\*|`(?:[^`]|``)*`)"
    found = re.match(rf"{name}\.{name}$", scope)
    if not found:
        return "", "", ""
    first, second = (part.removeprefix("`").removesuffix("`").replace("``", "`") for part in found.groups())
    return first, ".", second


def _matches(pattern: str, database: str) -> bool:
    r"""``_`` is any character, ``%`` any text, and a backslash takes their meaning away."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    meanings = {"_": ".", "%": ".*"}
    wanted = "".join(meanings.get(part) or re.escape(part[-1]) for part in parts)
    return re.fullmatch(wanted, database, re.DOTALL) is not None


def _scope(session: Session) -> str:
    return "`" + re.sub(r"([_%\\])", r"\\\1", session.database).replace("`", "``") + "`.*"
