"""Option files: the project's own, which is read, and the short-lived ones that the programs are given.

The programs get a password in no other way: a command line is visible to every user of the machine, an environment to
every process of this user. https://dev.mysql.com/doc/refman/8.4/en/option-files.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import merged_settings
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.tools import Tool
from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.process.private_dir import create_private, private_dir

Options = dict[str, str | None]  # None: an option without a value

# OPTIONS of mysqlclient and of PyMySQL, and their names in option files.
OPTION_NAMES = (
    {name: name for name in ("user", "password", "host", "port", "database")}
    | {"passwd": "password", "db": "database", "unix_socket": "socket", "ssl_verify_identity": "verify-identity"}
    | {f"ssl_{name}": f"ssl-{name}" for name in ("ca", "capath", "cert", "key", "cipher", "mode")}
)
# Likewise of the dict OPTIONS["ssl"].
SSL_OPTION_NAMES = {"ca": "ssl-ca", "capath": "ssl-capath", "cert": "ssl-cert", "key": "ssl-key",
                    "cipher": "ssl-cipher", "check_hostname": "verify-identity"}  # fmt: skip
_ACCOUNT = ("user", "password", "host", "port", "socket")
_TLS_FILES = ("ssl-ca", "ssl-capath", "ssl-cert", "ssl-key", "ssl-cipher")
_GROUP = re.compile(r"\[(?P<name>[^\]]*)\]")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", "\\": "\\", '"': '"', "'": "'"}
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"}


@dataclass(frozen=True)
class OptionFile:
    """A file by which a program connects."""

    path: Path
    secrets: tuple[str, ...] = field(repr=False)  # in the file

    @property
    def argument(self) -> str:
        """The first argument of a program that is to read this file and no other."""
        return f"--defaults-file={self.path}"


@contextmanager
def open_option_file(database: Database, session: Session, tool: Tool) -> Iterator[OptionFile]:
    """Write a file (0600) by which *tool* connects as *session* has; it is removed at the end of the block.

    The file of a process that was killed is removed by the next one: see :mod:`django_cfg.backup.process.private_dir`.
    """
    options = _build_options(database, session, tool)
    with private_dir() as folder:
        path = folder / "client.cnf"
        with create_private(path) as file:
            file.write(format_option_file(options).encode())
        yield OptionFile(path, _list_secrets(options))


def read_connection_options(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return server, user, database and TLS of *settings*, by their names in option files.

    Django's own settings take precedence over OPTIONS, and both over the file that OPTIONS may name.

    :raises ConfigurationError: they cannot be given to the programs.
    """
    options = settings.get("OPTIONS", {})
    tls = options.get("ssl")
    tls = tls if isinstance(tls, Mapping) else {}
    if "ssl_key_password" in options or "password" in tls:
        raise ConfigurationError(
            "The password of a TLS key cannot be given to mariadb-dump: use a key file without a password, readable "
            "only by this user, and name it in BackupDatabaseConfig.connection."
        )
    host = str(settings.get("HOST") or "")
    own = {
        "database": settings.get("NAME"),
        "socket" if host.startswith("/") else "host": host,
        "port": settings.get("PORT"),
        "user": settings.get("USER"),
        "password": settings.get("PASSWORD"),
    }
    layers = (
        _read_default_file(options),
        {SSL_OPTION_NAMES[name]: value for name, value in tls.items() if name in SSL_OPTION_NAMES},
        {OPTION_NAMES[name]: value for name, value in options.items() if name in OPTION_NAMES},
        own,
    )
    return {name: str(value) for layer in layers for name, value in layer.items() if value not in (None, "", False)}


def _read_default_file(options: Mapping[str, Any]) -> dict[str, str]:
    if "read_default_file" not in options:
        return {}
    found = read_option_file(str(options["read_default_file"]), str(options.get("read_default_group") or "client"))
    return {name: value for name, value in found.items() if name in {*OPTION_NAMES.values()} - {"verify-identity"}}


def read_option_file(path: str, group: str) -> dict[str, str]:
    """Return the options of ``[client]`` and *group* in the file that OPTIONS["read_default_file"] names.

    :raises ConfigurationError: the file cannot be read.
    """
    try:
        lines = Path(path).expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}, the read_default_file in OPTIONS, cannot be read: {getattr(error, 'strerror', error)}."
        ) from error
    options: dict[str, str] = {}
    current = ""
    for line in map(str.strip, lines):
        if found := _GROUP.match(line):
            current = found["name"].strip()
        elif line and line[0] not in "#;!" and current in ("client", group):
            name, _, value = line.partition("=")
            options[name.strip().replace("_", "-").removeprefix("loose-")] = _parse_value(value.strip())
    return options


def _parse_value(value: str) -> str:
    """Remove quotes, a comment after the value, and escapes, as the programs do."""
    quote = value[:1] if value[:1] in ("'", '"') else ""
    if quote and (closed := re.match(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}", value)):
        value = closed[1]
    elif not quote:
        value = value.partition("#")[0].strip()
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), value)


def format_option_file(options: Mapping[str, str | None]) -> str:
    lines = [name if value is None else f"{name}={_quote_value(value)}" for name, value in options.items()]
    return "\n".join(("[client]", *lines, ""))


def _quote_value(value: str) -> str:
    return '"' + "".join(_ESCAPED.get(character, character) for character in value) + '"'


def _list_secrets(options: Options) -> tuple[str, ...]:
    """Return the password as it is and as it is written; one that is also a name is no secret."""
    password = options.get("password")
    names = [value for name, value in options.items() if name != "password"]
    return () if password is None or password in names else (password, _quote_value(password)[1:-1])


def _build_options(database: Database, session: Session, tool: Tool) -> Options:
    settings = merged_settings(database)
    found = read_connection_options(settings)
    options: Options = {name: found[name] for name in _ACCOUNT if name in found}
    if session.is_over_tcp:
        options.pop("socket", None)
        options["protocol"] = "tcp"
        options.setdefault("host", "127.0.0.1")
    files: Options = {name: found[name] for name in _TLS_FILES if name in found}
    tls = _mysql_tls if tool.vendor == "mysql" else _mariadb_tls
    return {**options, **tls(files, encrypted=session.is_encrypted, verified=_verifies_host(settings, found))}


def _verifies_host(settings: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    """Return True if the driver compares the certificate's name with the host's.

    PyMySQL does so wherever it has a CA, unless check_hostname is false.
    """
    if found.get("ssl-mode", "").upper() == "VERIFY_IDENTITY" or "verify-identity" in found:
        return True
    tls = settings.get("OPTIONS", {}).get("ssl")
    return isinstance(tls, dict) and "ca" in tls and tls.get("check_hostname", True) and "ssl-mode" not in found


def _mariadb_tls(files: Options, *, encrypted: bool, verified: bool) -> Options:
    """Return the options of MariaDB's programs, which from 11.4 on require TLS and a verified certificate."""
    if not encrypted:
        return {"skip-ssl": None}
    return {"ssl": None, **files, f"{'' if verified else 'disable-'}ssl-verify-server-cert": None}


def _mysql_tls(files: Options, *, encrypted: bool, verified: bool) -> Options:
    if not encrypted:
        return {"ssl-mode": "DISABLED", "get-server-public-key": None}
    mode = "VERIFY_IDENTITY" if verified else "VERIFY_CA" if "ssl-ca" in files or "ssl-capath" in files else "REQUIRED"
    return {"ssl-mode": mode, **files}
