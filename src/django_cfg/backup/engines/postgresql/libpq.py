"""libpq's parameters, as PostgreSQL's programs get them: in a connection string, the password in a variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django_cfg.backup.errors import ConfigurationError

# libpq's parameters that have a variable; https://www.postgresql.org/docs/current/libpq-envars.html
_VARIABLES = {
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "dbname": "PGDATABASE",
    "gssencmode": "PGGSSENCMODE",
    "gsslib": "PGGSSLIB",
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "krbsrvname": "PGKRBSRVNAME",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "password": "PGPASSWORD",
    "port": "PGPORT",
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "service": "PGSERVICE",
    "sslcert": "PGSSLCERT",
    "sslcertmode": "PGSSLCERTMODE",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "sslsni": "PGSSLSNI",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "user": "PGUSER",
}
_WITHOUT_VARIABLE = (
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslcompression",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
# Everything else is in the connection string, which outranks service files and inherited variables. Programs
# refuse a parameter there that they are too old to know, rather than do without it; these two protect nothing.
_IN_A_VARIABLE = ("password", "load_balance_hosts", "sslnegotiation")
# What the driver's library fills in by itself, and older programs do not know.
_DEFAULTS = {"load_balance_hosts": "disable", "sslnegotiation": "postgres", "sslcertmode": "allow", "sslsni": "1"}
_PORT = "5432"
_SOCKETS = ("/var/run/postgresql", "/run/postgresql", "/tmp")  # noqa: S108  only looked into


def parameters(settings: Mapping[str, Any]) -> dict[str, str]:
    """libpq's parameters in Django's *settings*; what is Django's or the driver's own is left out."""
    options = settings.get("OPTIONS", {})
    if "sslpassword" in options:
        raise ConfigurationError(
            "sslpassword, of OPTIONS or a service file, cannot be handed to pg_dump without showing it to every user "
            "of this machine: use a key file without a password, readable by this user alone, and name it in "
            "BackupDatabaseConfig.connection."
        )
    known = {name: options[name] for name in (*_VARIABLES, *_WITHOUT_VARIABLE) if name in options}
    named = {name.lower(): settings[name] for name in ("HOST", "PORT", "USER", "PASSWORD") if settings.get(name)}
    dbname = settings.get("NAME") or ("" if "service" in options else "postgres")
    chosen = {"dbname": dbname} | known | named  # as Django's driver ranks them
    return {name: str(value) for name, value in chosen.items() if value not in (None, "")}


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """The variables under which PostgreSQL's programs reach the database; the password is nowhere else.

    What the settings leave open comes from our own environment, as it does for Django's driver.
    """
    found = parameters(settings)
    mine = {_VARIABLES[name]: found[name] for name in _IN_A_VARIABLE if name in found}
    inherited = {name: value for name, value in os.environ.items() if name != "PGSERVICE"}  # see without_service
    return {**inherited, **mine, "LC_MESSAGES": "C"}


def secrets(settings: Mapping[str, Any]) -> list[str]:
    """What PostgreSQL's programs are told in confidence; a password that is a name, too, is none."""
    found = parameters(settings)
    password = found.pop("password", "")
    return [] if password in found.values() else [password]


def connection_string(settings: Mapping[str, Any]) -> str:
    """All but the password, as a connection string; it holds no secret."""
    found = {name: value for name, value in parameters(settings).items() if name not in _IN_A_VARIABLE}
    return " ".join(f"{name}={_quoted(value)}" for name, value in found.items())


def whereabouts(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Which database that is, however it is spelt; of what a service file holds, only its name is known here.

    A name and an address are not taken for the same: two databases in one would leave one of them without backups.
    """
    found = parameters(settings)
    if names_a_service(settings):
        return tuple(found.get(name, "") for name in ("service", "host", "hostaddr", "port", "dbname"))
    port = found.get("port") or os.environ.get("PGPORT") or _PORT
    named = [found.get("hostaddr"), found.get("host"), os.environ.get("PGHOSTADDR"), os.environ.get("PGHOST")]
    host = next(filter(None, named), "") or _usual_socket(port)
    return os.path.realpath(host) if host.startswith("/") else host.lower(), port, found.get("dbname", "")


def _usual_socket(port: str) -> str:
    """The folder that libpq looks into by itself, where that can be told: each vendor builds in one of these."""
    there = {os.path.realpath(folder) for folder in _SOCKETS if Path(folder, f".s.PGSQL.{port}").exists()}
    return there.pop() if len(there) == 1 else ""


def names_a_service(settings: Mapping[str, Any]) -> bool:
    """Whether a service file says some of how the database is reached."""
    return "service" in parameters(settings) or bool(os.environ.get("PGSERVICE"))


def without_service(settings: Mapping[str, Any], connection: Any) -> dict[str, Any]:
    """*settings* with all that the driver's *connection* has found in the service file put in its place.

    A program would let the file's password outrank ours, which is in no connection string.
    """
    found, password = _in_use(connection)
    own = {name: value for name, value in settings.get("OPTIONS", {}).items() if name not in ("service", "password")}
    more = {name: value for name, value in found.items() if name in (*_VARIABLES, *_WITHOUT_VARIABLE, "sslpassword")}
    told = {name: value for name, value in more.items() if _DEFAULTS.get(name) != value and name != "service"}
    return {**settings, "PASSWORD": password, "OPTIONS": {**own, **told}}


def _in_use(connection: Any) -> tuple[dict[str, str], str]:
    """The parameters of a connection of psycopg 3 or 2, and its password."""
    if hasattr(connection, "pgconn"):
        found = {item.keyword.decode(): item.val.decode() for item in connection.pgconn.info if item.val}
    else:
        found = dict(connection.info.dsn_parameters)
    found.pop("password", None)
    return found, connection.info.password or ""


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
