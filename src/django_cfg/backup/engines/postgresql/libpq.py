"""Django's settings as libpq's parameters: in a connection string, the password in an environment variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import CONNECT_TIMEOUT, merged_settings
from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.process.environment import child_environment

# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS; others are Django's or the driver's
_PARAMETERS = (
    "channel_binding", "connect_timeout", "dbname", "gssencmode", "gsslib", "host", "hostaddr", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname", "load_balance_hosts", "options",
    "passfile", "password", "port", "require_auth", "requirepeer", "service", "ssl_max_protocol_version",
    "ssl_min_protocol_version", "sslcert", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslmode",
    "sslnegotiation", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout", "user",
)  # fmt: skip
# All others are in the connection string, which outranks service files and inherited variables. Programs refuse a
# parameter there that they are too old to know, rather than ignore it; the last two of these protect nothing.
_IN_ENVIRONMENT = {
    "password": "PGPASSWORD",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "sslnegotiation": "PGSSLNEGOTIATION",
}
# What the driver's library adds without being asked, and older programs do not know.
_DEFAULTS = {"load_balance_hosts": "disable", "sslnegotiation": "postgres", "sslcertmode": "allow", "sslsni": "1"}
_PORT = "5432"
_SOCKETS = ("/var/run/postgresql", "/run/postgresql", "/tmp")  # noqa: S108  only read


def get_connection_settings(database: Database) -> dict[str, Any]:
    """Return Django's settings of *database*, with a timeout: libpq itself would wait for minutes.

    A service may have a timeout of its own.
    """
    settings = merged_settings(database)
    options = settings.get("OPTIONS", {})
    has_timeout = "service" in options or "PGCONNECT_TIMEOUT" in os.environ
    timeout = {} if has_timeout else {"connect_timeout": CONNECT_TIMEOUT}
    return settings | {"OPTIONS": {**timeout, **options}}


def list_parameters(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return libpq's parameters in Django's *settings*, ranked as Django's driver ranks them."""
    options = settings.get("OPTIONS", {})
    if "sslpassword" in options:
        raise ConfigurationError(
            "sslpassword, of OPTIONS or a service file, cannot be passed to pg_dump without showing it to every user "
            "of this machine. Use a key file without a password, readable by this user alone, and name it in "
            "BackupDatabaseConfig.connection."
        )
    known = {name: options[name] for name in _PARAMETERS if name in options}
    named = {name.lower(): settings[name] for name in ("HOST", "PORT", "USER", "PASSWORD") if settings.get(name)}
    dbname = settings.get("NAME") or ("" if "service" in options else "postgres")
    parameters = {"dbname": dbname} | known | named
    return {name: str(value) for name, value in parameters.items() if value not in (None, "")}


def get_database_name(database: Database) -> str:
    """Return the name of *database* on its server; empty if a service file names it."""
    return list_parameters(get_connection_settings(database)).get("dbname", "")


def describe_location(database: Database) -> str:
    """Return where *database* is, for messages; without any secret."""
    found = list_parameters(get_connection_settings(database))
    host = found.get("host") or (f"service {found['service']}" if "service" in found else "local socket")
    return f"{found.get('dbname', '')} on {host}" + (f":{found['port']}" if "port" in found else "")


def identify(database: Database) -> tuple[str, ...]:
    """Return what is equal for two aliases of the same database; of a service file only the name is known here.

    A host name and an address are never taken for the same: two databases in one would leave one of them without
    backups.
    """
    settings = get_connection_settings(database)
    found = list_parameters(settings)
    if uses_service(settings):
        return tuple(found.get(name, "") for name in ("service", "host", "hostaddr", "port", "dbname"))
    port = found.get("port") or os.environ.get("PGPORT") or _PORT
    named = [found.get("hostaddr"), found.get("host"), os.environ.get("PGHOSTADDR"), os.environ.get("PGHOST")]
    host = next(filter(None, named), "") or _find_default_socket(port)
    return os.path.realpath(host) if host.startswith("/") else host.lower(), port, found.get("dbname", "")


def _find_default_socket(port: str) -> str:
    """Return libpq's default folder of sockets if it is certain: each vendor builds in one of these."""
    found = {os.path.realpath(folder) for folder in _SOCKETS if Path(folder, f".s.PGSQL.{port}").exists()}
    return found.pop() if len(found) == 1 else ""


def build_conninfo(settings: Mapping[str, Any]) -> str:
    """Return the parameters of *settings* as a connection string, without the password."""
    found = {name: value for name, value in list_parameters(settings).items() if name not in _IN_ENVIRONMENT}
    return " ".join(f"{name}={_quote_value(value)}" for name, value in found.items())


def _quote_value(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def build_environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment in which PostgreSQL's programs reach the database; the password is nowhere else.

    What the settings leave open comes from the environment of this process, as for Django's driver.
    """
    found = list_parameters(settings)
    own = {variable: found[name] for name, variable in _IN_ENVIRONMENT.items() if name in found}
    inherited = child_environment()
    inherited.pop("PGSERVICE", None)  # see replace_service
    return in_english({**inherited, **own})


def in_english(environment: Mapping[str, str]) -> dict[str, str]:
    """Return *environment* for a program whose words are read here; ``LC_ALL`` would outrank ``LC_MESSAGES``."""
    others = {name: value for name, value in environment.items() if name != "LC_ALL"}
    characters = {"LC_CTYPE": environment["LC_ALL"]} if environment.get("LC_ALL") else {}
    return {**others, **characters, "LC_MESSAGES": "C"}


def list_secrets(settings: Mapping[str, Any]) -> list[str]:
    """Return the secrets that PostgreSQL's programs get; a password that is also a name is none."""
    found = list_parameters(settings)
    password = found.pop("password", "")
    return [] if password in found.values() else [password]


def uses_service(settings: Mapping[str, Any]) -> bool:
    """Return True if a service file holds part of how the database is reached."""
    return "service" in list_parameters(settings) or bool(os.environ.get("PGSERVICE"))


def replace_service(settings: Mapping[str, Any], connection: Any) -> dict[str, Any]:
    """Return *settings* with everything that the driver's *connection* has found in the service file.

    A program would prefer the file's password to that of the settings, which is in no connection string.
    """
    if hasattr(connection, "pgconn"):  # psycopg 3
        found = {item.keyword.decode(): item.val.decode() for item in connection.pgconn.info if item.val}
    else:
        found = dict(connection.info.dsn_parameters)
    options = {
        name: value for name, value in settings.get("OPTIONS", {}).items() if name not in ("service", "password")
    }
    found = {
        name: value
        for name, value in found.items()
        if name in (*_PARAMETERS, "sslpassword")
        and name not in ("service", "password")
        and _DEFAULTS.get(name) != value
    }
    return {**settings, "PASSWORD": connection.info.password or "", "OPTIONS": {**options, **found}}
