"""What the user may see. Without a right, triggers and routines are missing from a dump in silence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django_cfg.backup.engines.mysql.session import Session, literal
from django_cfg.backup.errors import DatabaseUnavailable

_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?:(?:TABLE|FUNCTION|PROCEDURE) )?(?P<on>.+?) TO ", re.DOTALL)
_COLUMNS = re.compile(r"\([^)]*\)")
_NEEDED = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
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
    held = {right for grant in grants if grant.covers(session.database) for right in grant.rights}
    lacking = [] if "ALL PRIVILEGES" in held else [right for right in _NEEDED if right not in held]
    if not (held & {*_LISTING, "ALL PRIVILEGES"} or _reads_routines(grants)):
        lacking.append("EXECUTE")
    if lacking:
        user = session.value("SELECT CURRENT_USER()")
        raise DatabaseUnavailable(
            f"The user {user} may not see everything in the database {alias!r}, so a backup could lack tables, "
            f"triggers or routines without a sign of it: GRANT {', '.join(lacking)} ON {_scope(session)} "
            f"TO {_account(user)} (docs/mysql.md lists what a backup needs)."
        )


def _reads_routines(grants: Iterable[Grant]) -> bool:
    """Whether all routines of the server are open to the user."""
    return any(
        (grant.schema == "*" and grant.rights & {*_READING, "ALL PRIVILEGES"})
        or (grant.schema == "mysql" and grant.thing in ("*", "proc") and grant.rights & {"SELECT", "ALL PRIVILEGES"})
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


def _account(user: str) -> str:
    name, _, host = user.rpartition("@")
    return f"{literal(name)}@{literal(host)}"
