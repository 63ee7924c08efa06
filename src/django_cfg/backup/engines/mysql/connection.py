"""The connection of Django's driver to a MySQL or MariaDB database, prepared for long work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from django.db.utils import Error, load_backend

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import CONNECT_TIMEOUT, connect_silently, merged_settings
from django_cfg.backup.engines.mysql.error_advice import explain_unavailable
from django_cfg.backup.engines.mysql.error_text import IN_ENGLISH
from django_cfg.backup.engines.mysql.option_file import read_connection_options
from django_cfg.backup.engines.mysql.session import Session, parse_version

_DAY = 86_400  # seconds

# OPTIONS for the requests of a site, which would end or change a dump that takes hours.
IGNORED_OPTIONS = {"read_timeout", "write_timeout", "isolation_level", "cursorclass", "use_unicode", "pool",
                   "autocommit"}  # fmt: skip


@contextmanager
def connect(database: Database) -> Iterator[Session]:
    """Open a connection of our own in autocommit mode; it is closed at the end of the block.

    :raises DatabaseUnavailable: the server refuses the connection, or ends it.
    """
    settings = merged_settings(database)
    read_connection_options(settings)  # an unusable setting is an error before we connect
    wrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(_complete_settings(settings), database.alias)
    try:
        with wrapper.wrap_database_errors:
            yield _open_session(wrapper, database)
    except Error as error:
        raise explain_unavailable(database.alias, location(database), error) from error
    finally:
        wrapper.close()


def connect_to_server(database: Database) -> AbstractContextManager[Session]:
    """Likewise, to the server alone: the database need not exist."""
    settings = merged_settings(database)
    options = {key: value for key, value in settings.get("OPTIONS", {}).items() if key not in ("db", "database")}
    return connect(replace(database, settings={**settings, "NAME": "", "OPTIONS": options}, connection={}))


def _open_session(wrapper: Any, database: Database) -> Session:
    """Connect, and replace what a site may have set for its own sessions: SQL modes that change a dump, time limits."""
    try:
        _connect(wrapper)
        vendor, version = "mariadb" if wrapper.mysql_is_mariadb else "mysql", parse_version(wrapper.mysql_server_info)
        session = Session(wrapper.connection, vendor, version, "", database.alias)
        session = replace(session, database=_read_database_name(session))
        time_limit = "max_statement_time" if session.is_mariadb else "max_execution_time"
        lock_timeout = database.lock_timeout
        session.execute(
            "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
            IN_ENGLISH,
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",  # a snapshot needs it
            f"SET SESSION lock_wait_timeout = {lock_timeout}, innodb_lock_wait_timeout = {lock_timeout}",
            f"SET SESSION wait_timeout = {_DAY}, net_read_timeout = {_DAY}, net_write_timeout = {_DAY}",
            f"SET SESSION {time_limit} = 0",
        )
    except OSError as error:  # a certificate that cannot be read, and other errors that PyMySQL does not convert
        raise explain_unavailable(database.alias, location(database), error) from error
    return session


def _connect(wrapper: Any) -> None:
    """Connect within ``connect_timeout``.

    That of mysqlclient includes the server's first words. PyMySQL would wait forever for those of a server that takes
    the connection and says nothing.
    """
    options = wrapper.settings_dict["OPTIONS"]
    is_pymysql = wrapper.Database.__name__ == "pymysql"
    if is_pymysql:
        options["read_timeout"] = options["connect_timeout"]
    connect_silently(wrapper)
    if is_pymysql:
        wrapper.connection._read_timeout = None  # our queries may take hours


def _read_database_name(session: Session) -> str:
    """Return the database's name as the server spells it, which the settings may spell in other letters of a case.

    Everything that information_schema says is in the server's spelling (``lower_case_table_names``).
    """
    current: str = session.fetch_text("SELECT COALESCE(DATABASE(), '')")[0][0]
    query = "SELECT schema_name FROM information_schema.schemata WHERE schema_name = %s"
    found = [name for (name,) in session.fetch_text(query, [current])]
    return current if current in found or not found else found[0]


def location(database: Database) -> str:
    """Return "name on host:port" for messages, without any secret."""
    options = read_connection_options(merged_settings(database))
    host = options.get("socket") or options.get("host") or "localhost"
    port = f":{options['port']}" if "port" in options and "socket" not in options else ""
    return f"{options.get('database', '')} on {host}{port}"


def identify(database: Database) -> str:
    """Return a text that is equal for two aliases exactly when they name the same database."""
    options = read_connection_options(merged_settings(database))
    server = options.get("socket") or f"{options.get('host', 'localhost')}:{options.get('port', '3306')}"
    return f"mysql:{server}/{options.get('database', '')}"


def _complete_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in settings.get("OPTIONS", {}).items() if name not in IGNORED_OPTIONS}
    defaults = {"TIME_ZONE": None, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True,
                "NAME": "", "USER": "", "PASSWORD": "", "HOST": "", "PORT": ""}  # fmt: skip
    own = {"connect_timeout": CONNECT_TIMEOUT, **options, "isolation_level": None, "local_infile": False}
    return {**defaults, **settings, "OPTIONS": own}
