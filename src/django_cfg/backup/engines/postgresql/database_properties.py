"""The properties of a database that its dump does not hold: encoding, locale, owner, privileges, settings, limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from django_cfg.backup.engines.postgresql.error_text import describe_error, get_sqlstate
from django_cfg.backup.engines.postgresql.schema import execute, fetch_rows, quote_literal, quote_name, unquote_name
from django_cfg.backup.manifest import Characters, DatabaseGrant, DatabaseProperties, DatabaseSetting

_LOCALE_PROVIDERS_SINCE = 15  # major version of the server
_PROVIDERS: Mapping[str, Literal["libc", "icu", "builtin"]] = {"c": "libc", "i": "icu", "b": "builtin"}

# The default tablespace is not named, since it then needs no privilege.
_FACTS = """
SELECT (to_jsonb(d) || jsonb_build_object(
    'encoding_name', pg_encoding_to_char(encoding), 'owner', pg_get_userbyid(datdba),
    'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = dattablespace AND oid <> (
        SELECT dattablespace FROM pg_database WHERE datname = 'template0')),
    'comment', shobj_description(oid, 'pg_database')))::text
FROM pg_database d WHERE datname = %s
"""
_GRANTS = """
SELECT CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END,
    array_agg(privilege_type ORDER BY place), is_grantable
FROM pg_database, aclexplode(datacl) WITH ORDINALITY AS item (grantor, grantee, privilege_type, is_grantable, place)
WHERE datname = %s GROUP BY grantee, is_grantable ORDER BY min(place)
"""
_SETTINGS = """
SELECT CASE setrole WHEN 0 THEN '' ELSE pg_get_userbyid(setrole) END, unnest(setconfig)
FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = %s)
"""
# Others may enter the staging database only as they may enter the target, and create nothing there.
_ENTRANCE = ("CONNECT", "TEMPORARY")
# Settings whose value is a list of names, each of them quoted: variable_is_guc_list_quote() of PostgreSQL's pg_dump.
_LISTS = {"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
          "temp_tablespaces", "unix_socket_directories"}  # fmt: skip
_NAME = r'(?:"(?:[^"]|"")*"|[^\s";]+)'
_SET_STATEMENT = re.compile(
    rf"^ALTER (?:ROLE (?P<role>{_NAME}) IN )?DATABASE {_NAME} SET (?P<setting>{_NAME})"
    r" TO (?P<value>'(?:[^']|'')*'|E'(?:[^'\\]|''|\\.)*');$",
    re.MULTILINE | re.DOTALL,
)
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",]+?))\s*(?:,|$)')


def build_create_like(connection: Any, name: str, model: str) -> str:
    """Return SQL that creates the database *name*, empty, with the owner, tablespace and locale of *model*."""
    facts = _fetch_facts(connection, model)
    options = {"OWNER": quote_name(facts["owner"])}
    if facts["tablespace"]:
        options["TABLESPACE"] = quote_name(facts["tablespace"])
    has_providers = "datlocprovider" in facts
    return _build_create(name, options | _build_locale(_parse_locale(facts), has_providers=has_providers))


def build_create_lost(name: str, characters: Characters | None, server: int, owner: str = "") -> str:
    """Return SQL that creates the database *name*, empty, as a backup describes it.

    :param characters: None: the backup does not describe them, and the server's own are used.
    :param server: its major version.
    :param owner: empty: the role that creates it.
    """
    options = {"OWNER": quote_name(owner)} if owner else {}
    has_providers = server >= _LOCALE_PROVIDERS_SINCE
    locale = _build_locale(characters, has_providers=has_providers) if characters else {}
    return _build_create(name, options | locale)


def fetch_characters(connection: Any) -> Characters:
    """Return the encoding and locale of the connected database."""
    return _parse_locale(_fetch_facts(connection, _fetch_name(connection)))


def describe_properties(connection: Any) -> DatabaseProperties:
    """Return the properties of the connected database for a manifest, which is not encrypted: without any secret."""
    properties = fetch_properties(connection, _fetch_name(connection))
    public = [
        setting.model_copy(update={"value": None}) if _is_custom(setting.name) else setting
        for setting in properties.settings
    ]
    return properties.model_copy(update={"settings": tuple(public)})


def fetch_properties(connection: Any, name: str) -> DatabaseProperties:
    facts = _fetch_facts(connection, name)
    grants = [
        DatabaseGrant(role=role, privileges=tuple(privileges), with_grant_option=is_grantable)
        for role, privileges, is_grantable in fetch_rows(connection, _GRANTS, [name])
    ]
    settings = [(role, setting.partition("=")) for role, setting in fetch_rows(connection, _SETTINGS, [name])]
    return DatabaseProperties(
        owner=facts["owner"],
        grants=None if facts["datacl"] is None else tuple(grants),
        settings=tuple(DatabaseSetting(role=role, name=key, value=value) for role, (key, _, value) in settings),
        connection_limit=facts["datconnlimit"],
        is_template=facts["datistemplate"],
        comment=facts["comment"],
    )


def build_entrance(name: str, properties: DatabaseProperties) -> Iterator[tuple[str, str]]:
    """Describe and return SQL that gives the new database *name* its settings, and the roles that may connect to it.

    pg_dump --create has the same order: what is computed while the data is loaded, as the rows of a materialized
    view, depends on the settings.
    """
    if properties.grants is not None:
        yield "its privileges", f"REVOKE ALL ON DATABASE {quote_name(name)} FROM PUBLIC"
        for grant in properties.grants:
            if allowed := tuple(privilege for privilege in grant.privileges if privilege in _ENTRANCE):
                entrance = grant.model_copy(update={"privileges": allowed})
                yield f"the privileges of {grant.role or 'PUBLIC'} on it", _build_grant(name, entrance)
    for setting in properties.settings:
        if setting.value is not None:
            yield _describe_setting(setting.name, setting.role), _build_setting(name, setting, setting.value)


def build_allow_connections(name: str) -> str:
    return f"ALTER DATABASE {quote_name(name)} ALLOW_CONNECTIONS true"


def build_lost_remainder(name: str, properties: DatabaseProperties) -> Iterator[tuple[str, str]]:
    """Describe and return SQL for what a lost database had besides its settings and the right to connect to it."""
    for grant in properties.grants or ():
        yield f"the privileges of {grant.role or 'PUBLIC'} on it", _build_grant(name, grant)
    yield from _build_others(name, properties)


def build_copy(connection: Any, name: str, model: str) -> Iterator[str]:
    """Return SQL that gives the database *name*, of the same owner, all other properties of *model*."""
    properties, present = fetch_properties(connection, model), fetch_properties(connection, name)
    database = f"DATABASE {quote_name(name)}"
    if properties.grants is not None or present.grants is not None:
        roles = {properties.owner, *(grant.role for grant in present.grants or () if grant.role)}
        yield f"REVOKE ALL ON {database} FROM PUBLIC, {', '.join(map(quote_name, sorted(roles)))}"
        grants = _default_grants(properties.owner) if properties.grants is None else properties.grants
        yield from (_build_grant(name, grant) for grant in grants)
    for role in dict.fromkeys(setting.role for setting in present.settings):
        yield f"ALTER {_build_subject(name, role)} RESET ALL"
    for setting in properties.settings:
        yield _build_setting(name, setting, setting.value or "")
    yield from (statement for _, statement in _build_others(name, properties))


def execute_where_possible(connection: Any, statements: Iterable[tuple[str, str]]) -> list[str]:
    """Execute described *statements* within a transaction; return descriptions of those that the server refuses."""
    refused = []
    for description, statement in statements:
        execute(connection, "SAVEPOINT django_cfg_property")
        try:
            execute(connection, statement)
        except Exception as error:  # psycopg 2 and 3 share no class but Exception
            if get_sqlstate(error) is None:
                raise
            execute(connection, "ROLLBACK TO SAVEPOINT django_cfg_property")
            refused.append(f"{description} ({describe_error(error)})")
    return refused


def find_custom_settings(script: str, name: str) -> Iterator[tuple[str, str]]:
    """Describe and return SQL for the settings with a dot in their names, of *script*, that ``pg_restore --create``
    makes of an archive's entry DATABASE PROPERTIES; for the database *name*."""
    for found in _SET_STATEMENT.finditer(script):
        if _is_custom(setting := unquote_name(found["setting"])):
            role = unquote_name(found["role"] or "")
            statement = f"ALTER {_build_subject(name, role)} SET {found['setting']} TO {found['value']}"
            yield _describe_setting(setting, role), statement


def _build_others(name: str, properties: DatabaseProperties) -> Iterator[tuple[str, str]]:
    database = f"DATABASE {quote_name(name)}"
    if properties.comment is not None:
        yield "its comment", f"COMMENT ON {database} IS {quote_literal(properties.comment)}"
    if properties.connection_limit != -1:
        yield "its connection limit", f"ALTER {database} CONNECTION LIMIT {properties.connection_limit}"
    if properties.is_template:
        yield "that it is a template", f"ALTER {database} IS_TEMPLATE true"


def _default_grants(owner: str) -> tuple[DatabaseGrant, ...]:
    return DatabaseGrant(privileges=_ENTRANCE), DatabaseGrant(role=owner, privileges=("CREATE", *_ENTRANCE))


def _build_grant(name: str, grant: DatabaseGrant) -> str:
    role = quote_name(grant.role) if grant.role else "PUBLIC"
    option = " WITH GRANT OPTION" if grant.with_grant_option else ""
    return f"GRANT {', '.join(grant.privileges)} ON DATABASE {quote_name(name)} TO {role}{option}"


def _build_subject(name: str, role: str) -> str:
    return f"ROLE {quote_name(role)} IN DATABASE {quote_name(name)}" if role else f"DATABASE {quote_name(name)}"


def _describe_setting(name: str, role: str) -> str:
    return f"its setting {name}{f' of the role {role}' if role else ''}"


def _is_custom(name: str) -> bool:
    """Return True for a setting of an extension or of the project's own, which the server does not know itself."""
    return "." in name


def _fetch_name(connection: Any) -> str:
    name: str = fetch_rows(connection, "SELECT current_database()")[0][0]
    return name


def _fetch_facts(connection: Any, name: str) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = json.loads(fetch_rows(connection, _FACTS, [name])[0][0])
    return facts


def _parse_locale(facts: Mapping[str, Any]) -> Characters:
    return Characters(
        encoding=facts["encoding_name"],
        collate=facts["datcollate"],
        ctype=facts["datctype"],
        provider=_PROVIDERS[facts.get("datlocprovider", "c")],
        locale=facts.get("datlocale") or facts.get("daticulocale") or "",
        rules=facts.get("daticurules") or "",
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
    # no role can enter before it is known which may
    return f"CREATE DATABASE {quote_name(name)} TEMPLATE template0{clauses} ALLOW_CONNECTIONS false"


def _build_setting(database: str, setting: DatabaseSetting, value: str) -> str:
    target = ".".join(map(quote_name, setting.name.split(".")))  # an extension's setting has a dot in its name
    values = quote_literal(value)
    if setting.name.lower() in _LISTS:  # the name may be stored in any case
        items = [quoted.replace('""', '"') or plain for quoted, plain in _ITEM.findall(value) if value]
        values = ", ".join(map(quote_literal, items)) or quote_literal("")
    return f"ALTER {_build_subject(database, setting.role)} SET {target} TO {values}"
