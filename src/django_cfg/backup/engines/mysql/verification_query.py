"""Questions to restored data, on a connection of their own that may change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import merged_settings
from django_cfg.backup.engines.mysql.connection import connected
from django_cfg.backup.engines.mysql.error_text import said
from django_cfg.backup.errors import BackupError, VerificationFailed


def entry(database: Database, schema: str) -> Mapping[str, Any]:
    """*schema*, on the server of *database*, as an entry of settings.DATABASES."""
    return {**merged_settings(database), "NAME": schema}


def ask(database: Database, query: str, schema: str | None = None) -> object:
    """The first value that *query* gives, None for no row.

    :param schema: where it is asked; None: in the database itself.
    :raises VerificationFailed: the query fails.
    """
    asked = replace(database, settings=entry(database, schema), connection={}) if schema else database
    with connected(asked) as session:
        session.execute("SET SESSION sql_mode = DEFAULT", "START TRANSACTION READ ONLY")
        try:
            rows = session.rows(query)
        except BackupError:
            raise
        except Exception as error:  # drivers share no class but Exception
            raise VerificationFailed(
                f"The verification query {query!r} fails on the restored data: {said(error)}."
            ) from error
    return rows[0][0] if rows else None
