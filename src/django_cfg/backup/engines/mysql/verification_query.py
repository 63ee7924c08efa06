"""Verification queries on restored data, on a connection of their own that cannot change anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.connection_settings import merged_settings
from django_cfg.backup.engines.mysql.connection import connect
from django_cfg.backup.engines.mysql.error_advice import get_error_text
from django_cfg.backup.errors import BackupError, VerificationFailed


def build_settings(database: Database, schema: str) -> Mapping[str, Any]:
    """Return *schema*, on the server of *database*, as an entry of settings.DATABASES."""
    return {**merged_settings(database), "NAME": schema}


def run_verification_query(database: Database, query: str, schema: str | None = None) -> object:
    """Return the first value of *query*, None for no row.

    :param schema: where it is run; None: in the database itself.
    :raises VerificationFailed: the query fails.
    """
    if schema:
        database = replace(database, settings=build_settings(database, schema), connection={})
    with connect(database) as session:
        session.execute("SET SESSION sql_mode = DEFAULT", "START TRANSACTION READ ONLY")
        try:
            rows = session.fetch_rows(query)
        except BackupError:
            raise
        except Exception as error:  # drivers share no class but Exception
            raise VerificationFailed(
                f"The verification query {query!r} fails on the restored data: {get_error_text(error)}."
            ) from error
    return rows[0][0] if rows else None
