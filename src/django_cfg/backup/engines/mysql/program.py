"""What the option file of the programs says: where the server is, and the same TLS that Django's driver came by."""

from __future__ import annotations

from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import merged_settings
from django_cfg.backup.engines.mysql.connection import parameters
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.tools import Tool

_PLAIN = ("user", "password", "host", "port", "socket")
_TLS_FILES = ("ssl-ca", "ssl-capath", "ssl-cert", "ssl-key", "ssl-cipher")


def options_for(database: Database, session: Session, tool: Tool) -> dict[str, str | None]:
    """The options under which *tool* reaches the database as *session* has."""
    settings = merged_settings(database)
    found = parameters(settings)
    options: dict[str, str | None] = {name: found[name] for name in _PLAIN if name in found}
    if session.is_over_tcp:
        options.pop("socket", None)
        options["protocol"] = "tcp"
        options.setdefault("host", "127.0.0.1")
    files: dict[str, str | None] = {name: found[name] for name in _TLS_FILES if name in found}
    tls = _mysql_tls if tool.vendor == "mysql" else _mariadb_tls
    return {**options, **tls(files, encrypted=session.is_encrypted, verified=_verifies(settings, found))}


def _verifies(settings: dict[str, Any], found: dict[str, str]) -> bool:
    """Whether the certificate's name is looked at; PyMySQL does so wherever it has a CA, unless told not to."""
    if found.get("ssl-mode", "").upper() == "VERIFY_IDENTITY" or "verify-identity" in found:
        return True
    tls = settings.get("OPTIONS", {}).get("ssl")
    return isinstance(tls, dict) and "ca" in tls and tls.get("check_hostname", True) and "ssl-mode" not in found


def _mariadb_tls(files: dict[str, str | None], *, encrypted: bool, verified: bool) -> dict[str, str | None]:
    """From 11.4 on its programs would insist on TLS and on a certificate they can verify."""
    if not encrypted:
        return {"skip-ssl": None}
    verifying = "ssl-verify-server-cert" if verified else "disable-ssl-verify-server-cert"
    return {"ssl": None, **files, verifying: None}


def _mysql_tls(files: dict[str, str | None], *, encrypted: bool, verified: bool) -> dict[str, str | None]:
    if not encrypted:
        return {"ssl-mode": "DISABLED", "get-server-public-key": None}
    mode = "VERIFY_IDENTITY" if verified else "VERIFY_CA" if "ssl-ca" in files or "ssl-capath" in files else "REQUIRED"
    return {"ssl-mode": mode, **files}
