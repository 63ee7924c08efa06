"""How a MySQL or MariaDB database is reached: by Django's driver for questions, by an option file for the programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db.utils import Error, load_backend

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import CONNECT_TIMEOUT, merged_settings
from django_cfg.backup.engines.mysql.error_text import unavailable
from django_cfg.backup.engines.mysql.option_file import read_option_file
from django_cfg.backup.engines.mysql.session import Session, plain_version
from django_cfg.backup.errors import ConfigurationError

_DAY = 86_400  # seconds

# OPTIONS of the site's requests that are not for a dump of hours.
_NOT_OURS = ("read_timeout", "write_timeout", "isolation_level", "cursorclass", "use_unicode", "pool", "autocommit")
# OPTIONS of mysqlclient and of PyMySQL, in the words of option files.
_NAMES = {
    "user": "user",
    "passwd": "password",
    "password": "password",
    "host": "host",
    "port": "port",
    "unix_socket": "socket",
    "db": "database",
    "database": "database",
    "ssl_ca": "ssl-ca",
    "ssl_capath": "ssl-capath",
    "ssl_cert": "ssl-cert",
    "ssl_key": "ssl-key",
    "ssl_cipher": "ssl-cipher",
    "ssl_mode": "ssl-mode",
    "ssl_verify_identity": "verify-identity",
}
_SSL = {"ca": "ssl-ca", "capath": "ssl-capath", "cert": "ssl-cert", "key": "ssl-key", "cipher": "ssl-cipher",
        "check_hostname": "verify-identity"}  # fmt: skip
_FROM_FILE = {*_NAMES.values()} - {"verify-identity"}


def parameters(settings: Mapping[str, Any]) -> dict[str, str]:
    """Where the server is, who we are and how TLS is to be, in the words of option files.

    Django's settings outrank OPTIONS where both speak, and both outrank the file that OPTIONS may name.
    """
    options = settings.get("OPTIONS", {})
    tls = options.get("ssl")
    tls = tls if isinstance(tls, Mapping) else {}
    if "ssl_key_password" in options or "password" in tls:
        raise ConfigurationError(
            "The password of a TLS key cannot be handed to mariadb-dump: use a key file without a password, readable "
            "by this user alone, and name it in BackupDatabaseConfig.connection."
        )
    host = str(settings.get("HOST") or "")
    named = {
        "database": settings.get("NAME"),
        "socket" if host.startswith("/") else "host": host,
        "port": settings.get("PORT"),
        "user": settings.get("USER"),
        "password": settings.get("PASSWORD"),
    }
    layers = (
        _file(options),
        {_SSL[name]: value for name, value in tls.items() if name in _SSL},
        {_NAMES[name]: value for name, value in options.items() if name in _NAMES},
        named,
    )
    return {name: str(value) for layer in layers for name, value in layer.items() if value not in (None, "", False)}


def _file(options: Mapping[str, Any]) -> dict[str, str]:
    if "read_default_file" not in options:
        return {}
    found = read_option_file(str(options["read_default_file"]), str(options.get("read_default_group") or "client"))
    return {name: value for name, value in found.items() if name in _FROM_FILE}


@contextmanager
def connected(database: Database) -> Iterator[Session]:
    """A connection of Django's driver of our own, in autocommit, made for long work; closed afterwards.

    :raises DatabaseUnavailable: the server does not let us in.
    """
    settings = merged_settings(database)
    found = parameters(settings)  # what we cannot use is told before anything is tried
    wrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(_complete(settings), database.alias)
    try:
        session = _opened(wrapper, database, found.get("database", ""))
        with wrapper.wrap_database_errors:
            yield session
    except Error as error:
        raise unavailable(database, location(database), error) from error
    finally:
        wrapper.close()


def _opened(wrapper: Any, database: Database, name: str) -> Session:
    try:
        with wrapper.wrap_database_errors:
            wrapper.connect()
            vendor = "mariadb" if wrapper.mysql_is_mariadb else "mysql"
            session = Session(wrapper.connection, vendor, plain_version(wrapper.mysql_server_info), name)
            _prepare(session, database.lock_timeout)
            return session
    except OSError as error:  # a certificate that cannot be read, and what PyMySQL does not put into words of its own
        raise unavailable(database, location(database), error) from error


def _prepare(session: Session, lock_timeout: int) -> None:
    """Free the session of what a site sets for its own: modes that change SQL, limits of time."""
    unlimited = "max_statement_time" if session.is_mariadb else "max_execution_time"
    session.execute(
        "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",  # a snapshot needs it
        f"SET SESSION lock_wait_timeout = {lock_timeout}, innodb_lock_wait_timeout = {lock_timeout}",
        f"SET SESSION wait_timeout = {_DAY}, net_read_timeout = {_DAY}, net_write_timeout = {_DAY}",
        f"SET SESSION {unlimited} = 0",
    )


def location(database: Database) -> str:
    """Where the database is, without any secret."""
    found = parameters(merged_settings(database))
    where = found.get("socket") or found.get("host") or "localhost"
    port = f":{found['port']}" if "port" in found and "socket" not in found else ""
    return f"{found.get('database', '')} on {where}{port}"


def _complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in settings.get("OPTIONS", {}).items() if name not in _NOT_OURS}
    defaults = {"TIME_ZONE": None, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True,
                "NAME": "", "USER": "", "PASSWORD": "", "HOST": "", "PORT": ""}  # fmt: skip
    ours = {"connect_timeout": CONNECT_TIMEOUT, **options, "isolation_level": None}
    return {**defaults, **settings, "OPTIONS": ours}
