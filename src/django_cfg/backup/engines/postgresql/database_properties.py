"""The properties of a database that its dump does not hold: encoding, locale, owner, privileges, settings, limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from django_cfg.backup.engines.postgresql.schema import fetch_rows, quote_literal, quote_name
from django_cfg.backup.manifest import Characters

_LOCALE_PROVIDERS_SINCE = 15  # major version of the server
_PROVIDERS: Mapping[str, Literal["libc", "icu", "builtin"]] = {"c": "libc", "i": "icu", "b": "builtin"}

# The default tablespace is not named, since it then needs no privilege.
_PROPERTIES = """
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
# Settings whose value is a list of names, each of them quoted: variable_is_guc_list_quote() of PostgreSQL's pg_dump.
_LISTS = {"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
          "temp_tablespaces", "unix_socket_directories"}  # fmt: skip
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",]+?))\s*(?:,|$)')


def build_create_like(connection: Any, name: str, model: str) -> str:
    """Return SQL that creates the database *name*, empty, with the owner, tablespace and locale of *model*."""
    properties = _fetch_properties(connection, model)
    options = {"OWNER": quote_name(properties["owner"])}
    if properties["tablespace"]:
        options["TABLESPACE"] = quote_name(properties["tablespace"])
    has_providers = "datlocprovider" in properties
    return _build_create(name, options | _build_locale(_parse_locale(properties), has_providers=has_providers))


def build_create_lost(name: str, characters: Characters | None, server: int) -> str:
    """Return SQL that creates the database *name*, empty, as a backup describes it.

    :param characters: None: the backup does not describe them, and the server's own are used.
    :param server: its major version.
    """
    has_providers = server >= _LOCALE_PROVIDERS_SINCE
    return _build_create(name, _build_locale(characters, has_providers=has_providers) if characters else {})


def fetch_characters(connection: Any) -> Characters:
    """Return the encoding and locale of the connected database."""
    ((name,),) = fetch_rows(connection, "SELECT current_database()")
    return _parse_locale(_fetch_properties(connection, name))


def build_copy(connection: Any, name: str, model: str) -> Iterator[str]:
    """Return SQL that gives the database *name*, new and of the same owner, the other properties of *model*."""
    properties = _fetch_properties(connection, model)
    database = f"DATABASE {quote_name(name)}"
    if properties["comment"] is not None:
        yield f"COMMENT ON {database} IS {quote_literal(properties['comment'])}"
    if properties["datacl"] is not None:
        yield f"REVOKE ALL ON {database} FROM PUBLIC, {quote_name(properties['owner'])}"
        for grantee, privileges, is_grantable in fetch_rows(connection, _GRANTS, [model]):
            yield f"GRANT {privileges} ON {database} TO {grantee}{' WITH GRANT OPTION' if is_grantable else ''}"
    for role, setting in fetch_rows(connection, _SETTINGS, [model]):
        subject = database if role is None else f"ROLE {quote_name(role)} IN {database}"
        yield f"ALTER {subject} SET {_build_setting(setting)}"
    if properties["datconnlimit"] != -1:
        yield f"ALTER {database} CONNECTION LIMIT {properties['datconnlimit']}"
    if properties["datistemplate"]:
        yield f"ALTER {database} IS_TEMPLATE true"


def _fetch_properties(connection: Any, name: str) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = json.loads(fetch_rows(connection, _PROPERTIES, [name])[0][0])
    return properties


def _parse_locale(properties: Mapping[str, Any]) -> Characters:
    return Characters(
        encoding=properties["encoding_name"],
        collate=properties["datcollate"],
        ctype=properties["datctype"],
        provider=_PROVIDERS[properties.get("datlocprovider", "c")],
        locale=properties.get("datlocale") or properties.get("daticulocale") or "",
        rules=properties.get("daticurules") or "",
    )


def _build_locale(characters: Characters, *, has_providers: bool) -> dict[str, str]:
    options = {
        "ENCODING": quote_literal(characters.encoding),
        "LC_COLLATE": quote_literal(characters.collate),
        "LC_CTYPE": quote_literal(characters.ctype),
    }
    if has_providers or characters.provider != "libc":  # an older server refuses any other provider
        options["LOCALE_PROVIDER"] = characters.provider
    if characters.provider != "libc":
        options[f"{characters.provider.upper()}_LOCALE"] = quote_literal(characters.locale)
    if characters.rules:
        options["ICU_RULES"] = quote_literal(characters.rules)
    return options


def _build_create(name: str, options: Mapping[str, str]) -> str:
    clauses = "".join(f" {option} {value}" for option, value in options.items())
    return f"CREATE DATABASE {quote_name(name)} TEMPLATE template0{clauses}"


def _build_setting(setting: str) -> str:
    """Return ``name TO value`` for ``name=value``; an extension's setting has a dot in its name."""
    name, _, value = setting.partition("=")
    target = ".".join(map(quote_name, name.split(".")))
    if name.lower() not in _LISTS:  # the name may be stored in any case
        return f"{target} TO {quote_literal(value)}"
    items = [quoted.replace('""', '"') or plain for quoted, plain in _ITEM.findall(value) if value]
    return f"{target} TO {', '.join(map(quote_literal, items)) or quote_literal('')}"
