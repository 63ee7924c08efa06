"""Asking a verification query: in SQL that hands it over as a text, so that nothing in it can end our transaction."""

from __future__ import annotations

import json

from django_cfg.backup.engines.postgresql.schema import literal

ANSWER = "SELECT current_setting('django_cfg.answer')"
# What loading has set is taken back: names are found as the site finds them.
_ASK = """
SET LOCAL transaction_read_only = on;
SET LOCAL search_path TO DEFAULT;
DO $django_cfg_ask$
DECLARE
    answer text;
BEGIN
    EXECUTE %QUERY% INTO answer;
    PERFORM set_config('django_cfg.answer', coalesce(answer, ''), true);
END $django_cfg_ask$;
"""


def asking(query: str) -> str:
    """SQL, to be run in a transaction that is rolled back, after which ``ANSWER`` gives the first row of *query*."""
    first_row = (
        f"SELECT row_to_json(django_cfg_row)::text FROM ({query.strip().rstrip(';')}\n) AS django_cfg_row LIMIT 1"
    )
    return _ASK.replace("%QUERY%", literal(first_row))


def first_value(answer: str | bytes) -> object:
    """The first value of the row that ``ANSWER`` gave; None for no row."""
    return json.loads(answer, object_pairs_hook=lambda pairs: pairs)[0][1] if answer else None
