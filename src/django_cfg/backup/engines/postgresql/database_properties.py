"""What a database has outside of its dump: encoding and collation, owner, privileges, comment, settings, limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from django_cfg.backup.engines.postgresql.schema import literal, quoted, rows
from django_cfg.backup.manifest import Characters

_SINCE_PROVIDERS = 15  # servers of this version know of locale providers
_PROVIDERS: Mapping[str, Literal["libc", "icu", "builtin"]] = {"c": "libc", "i": "icu", "b": "builtin"}

# The tablespace is named only where it is not the usual one, for which no privilege is needed that way.
_ROW = """
SELECT (to_jsonb(d) || jsonb_build_object(
    'encoding_name', pg_encoding_to_char(encoding), 'owner', pg_get_userbyid(datdba),
    'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = dattablespace AND oid <> (
        SELECT dattablespace FROM pg_database WHERE datname = 'template0')),
    'comment', shobj_description(oid, 'pg_database')))::text
FROM pg_database d WHERE datname = %s
"""
_GRANTS = """
SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    string_agg(privilege_type, ', '), is_grantable
FROM pg_database, aclexplode(datacl) WITH ORDINALITY AS item (grantor, grantee, privilege_type, is_grantable, place)
WHERE datname = %s GROUP BY grantee, is_grantable ORDER BY min(place)
"""
_SETTINGS = """
SELECT CASE setrole WHEN 0 THEN NULL ELSE pg_get_userbyid(setrole) END, unnest(setconfig)
FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = %s)
"""
# Settings whose value is a list of names, each quoted on its own where it has to be;
# variable_is_guc_list_quote() of PostgreSQL's own pg_dump names them.
_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",]+?))\s*(?:,|$)')


def create_statement(connection: Any, name: str, like: str) -> str:
    """SQL that makes the database *name*, empty, with what can only be chosen then taken from the database *like*."""
    row = _row(connection, like)
    choices = {"OWNER": quoted(row["owner"])}
    if row["tablespace"]:
        choices["TABLESPACE"] = quoted(row["tablespace"])
    return _create(name, choices | _choices(_characters(row), knows_providers="datlocprovider" in row))


def create_lost_statement(name: str, characters: Characters | None, server: int) -> str:
    """SQL that makes the database *name*, empty, as a backup remembers it.

    :param characters: None: the backup does not know them, and the server's own are taken.
    :param server: its major version.
    """
    if characters is None:
        return _create(name, {})
    return _create(name, _choices(characters, knows_providers=server >= _SINCE_PROVIDERS))


def characters(connection: Any) -> Characters:
    """Of the database that is connected to."""
    ((name,),) = rows(connection, "SELECT current_database()")
    return _characters(_row(connection, name))


def copying_statements(connection: Any, name: str, like: str) -> Iterator[str]:
    """SQL that gives the database *name*, new and of the same owner, the rest of what *like* has."""
    row = _row(connection, like)
    if row["comment"] is not None:
        yield f"COMMENT ON DATABASE {quoted(name)} IS {literal(row['comment'])}"
    if row["datacl"] is not None:
        yield from _privileges(connection, name, like, row["owner"])
    for role, setting in rows(connection, _SETTINGS, [like]):
        whose = (
            f"ALTER DATABASE {quoted(name)}"
            if role is None
            else f"ALTER ROLE {quoted(role)} IN DATABASE {quoted(name)}"
        )
        yield f"{whose} SET {_setting(setting)}"
    if row["datconnlimit"] != -1:
        yield f"ALTER DATABASE {quoted(name)} CONNECTION LIMIT {row['datconnlimit']}"
    if row["datistemplate"]:
        yield f"ALTER DATABASE {quoted(name)} IS_TEMPLATE true"


def _row(connection: Any, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(rows(connection, _ROW, [name])[0][0])
    return found


def _characters(row: Mapping[str, Any]) -> Characters:
    return Characters(
        encoding=row["encoding_name"],
        collate=row["datcollate"],
        ctype=row["datctype"],
        provider=_PROVIDERS[row.get("datlocprovider", "c")],
        locale=row.get("datlocale") or row.get("daticulocale") or "",
        rules=row.get("daticurules") or "",
    )


def _choices(characters: Characters, *, knows_providers: bool) -> dict[str, str]:
    choices = {
        "ENCODING": literal(characters.encoding),
        "LC_COLLATE": literal(characters.collate),
        "LC_CTYPE": literal(characters.ctype),
    }
    if knows_providers or characters.provider != "libc":  # an older server refuses another one
        choices["LOCALE_PROVIDER"] = characters.provider
    if characters.provider != "libc":
        choices[f"{characters.provider.upper()}_LOCALE"] = literal(characters.locale)
    if characters.rules:
        choices["ICU_RULES"] = literal(characters.rules)
    return choices


def _create(name: str, choices: Mapping[str, str]) -> str:
    told = "".join(f" {option} {value}" for option, value in choices.items())
    return f"CREATE DATABASE {quoted(name)} TEMPLATE template0{told}"


def _privileges(connection: Any, name: str, like: str, owner: str) -> Iterator[str]:
    yield f"REVOKE ALL ON DATABASE {quoted(name)} FROM PUBLIC, {quoted(owner)}"
    for grantee, privileges, grantable in rows(connection, _GRANTS, [like]):
        option = " WITH GRANT OPTION" if grantable else ""
        yield f"GRANT {privileges} ON DATABASE {quoted(name)} TO {grantee}{option}"


def _setting(setting: str) -> str:
    """``name TO value`` of ``name=value``; names of extensions' settings have a dot, others may be in upper case."""
    name, _, value = setting.partition("=")
    target = ".".join(map(quoted, name.split(".")))
    if name.lower() not in _LISTS:
        return f"{target} TO {literal(value)}"
    items = [quoted_item.replace('""', '"') or plain for quoted_item, plain in _ITEM.findall(value) if value]
    return f"{target} TO {', '.join(map(literal, items)) or literal('')}"
