"""The last step of a restore before its COMMIT: SQL that raises unless everything is as the manifest tells.

It creates nothing: the event triggers that were just restored would see it.
"""

from __future__ import annotations

from collections.abc import Sequence

from django_cfg.backup.engines.postgresql.schema import literal
from django_cfg.backup.manifest import Table

SIGN = "django-cfg-backup:"  # begins the message


def recount(tables: Sequence[Table], *, others: bool = False) -> str:
    """SQL that raises unless exactly *tables* are there, with as many rows as the manifest tells.

    :param others: there may be other tables too.
    """
    expected = ", ".join(
        f"({literal(table.name)}, {table.rows}::bigint, {str(table.exact).lower()})" for table in tables
    )
    return _RECOUNT.replace("%EXPECTED%", expected).replace("%JOIN%", "LEFT" if others else "FULL")


_RECOUNT = rf"""
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
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND c.relpersistence <> 't'
            AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
            AND NOT EXISTS (SELECT FROM pg_depend d
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
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
        RAISE EXCEPTION '{SIGN} %', array_to_string(differences[1:20], ', ');
    END IF;
END $django_cfg_check$;
"""
