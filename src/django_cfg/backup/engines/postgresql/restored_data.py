"""SQL that checks restored data: its row counts against the manifest, and the operator's verification queries."""

from __future__ import annotations

import json
from collections.abc import Sequence

from django_cfg.backup.engines.postgresql.schema import USER_TABLES, quote_literal
from django_cfg.backup.manifest import Table

MISMATCH = "django-cfg-backup:"  # begins the message of a failed row check
# It creates nothing: event triggers that have just been restored would fire.
_ROW_CHECK = f"""
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL row_security = off;
DO $django_cfg_check$
DECLARE
    item record;
    found bigint;
    differences text[] := '{{}}';
BEGIN
    FOR item IN
        WITH expected (name, expected_rows, exact) AS (VALUES %EXPECTED%),
        found AS (
            SELECT n.nspname || '.' || c.relname AS name, n.nspname, c.relname
            {USER_TABLES})
        SELECT e.name AS wanted, f.name, nspname, relname, expected_rows, exact
        FROM expected e %JOIN% JOIN found f ON f.name = e.name ORDER BY 1, 2
    LOOP
        IF item.name IS NULL THEN
            differences := differences || (item.wanted || ' is missing');
        ELSIF item.wanted IS NULL THEN
            differences := differences || (item.name || ' is not in the manifest');
        ELSIF item.exact THEN
            EXECUTE format('SELECT count(*) FROM ONLY %I.%I', item.nspname, item.relname) INTO found;
            IF found <> item.expected_rows THEN
                differences := differences
                    || format('%s has %s rows instead of %s', item.name, found, item.expected_rows);
            END IF;
        END IF;
    END LOOP;
    IF differences <> '{{}}' THEN
        RAISE EXCEPTION '{MISMATCH} %', array_to_string(differences[1:20], ', ');
    END IF;
END $django_cfg_check$;
"""
# The query is passed as text, so that nothing in it can end the transaction. Settings that loading has made are
# undone: names are found as the site finds them.
_VERIFICATION_QUERY = """
SET LOCAL transaction_read_only = on;
SET LOCAL search_path TO DEFAULT;
DO $django_cfg_query$
DECLARE
    answer text;
BEGIN
    EXECUTE %QUERY% INTO answer;
    PERFORM set_config('django_cfg.answer', coalesce(answer, ''), true);
END $django_cfg_query$;
"""
FETCH_ANSWER = "SELECT current_setting('django_cfg.answer')"


def build_row_check(tables: Sequence[Table], *, allow_others: bool = False) -> str:
    """Return SQL that raises unless exactly *tables* exist, with as many rows as the manifest says.

    :param allow_others: other tables may exist too.
    """
    expected = ", ".join(
        f"({quote_literal(table.name)}, {table.rows}::bigint, {str(table.exact).lower()})" for table in tables
    )
    return _ROW_CHECK.replace("%EXPECTED%", expected).replace("%JOIN%", "LEFT" if allow_others else "FULL")


def build_verification_query(query: str) -> str:
    """Return SQL for a transaction that is rolled back; ``FETCH_ANSWER`` then returns the first row of *query*."""
    first_row = (
        f"SELECT row_to_json(django_cfg_row)::text FROM ({query.strip().rstrip(';')}\n) AS django_cfg_row LIMIT 1"
    )
    return _VERIFICATION_QUERY.replace("%QUERY%", quote_literal(first_row))


def parse_answer(answer: str | bytes) -> object:
    """Return the first value of the row in *answer*; None if the query returned no row."""
    return json.loads(answer, object_pairs_hook=lambda pairs: pairs)[0][1] if answer else None
