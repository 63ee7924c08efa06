"""Where the sequences of an archive are, and SQL that sets those of some tables there.

Sequences are found by the columns that take their numbers from them: the same column may have a sequence of another
name in the backup. ``setval`` is not undone by a rollback, but ALTER SEQUENCE ... RESTART is, and with it what sets
the position afterwards: the sequence has new storage then, which the rollback drops.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from django_cfg.backup.engines.postgresql.schema import quote_literal, unquote_name

NAME = r'(?:"(?:[^"]|"")*"|[^\s".,;:()\']+)'
_QUALIFIED = rf"{NAME}\.{NAME}"
_TEXT = r"'((?:[^']|'')*)'"
_POSITION = re.compile(rf"^SELECT pg_catalog\.setval\({_TEXT}, (-?\d+), (true|false)\);$", re.MULTILINE)
_OWNED = re.compile(rf"^ALTER SEQUENCE ({_QUALIFIED}) OWNED BY ({_QUALIFIED}\.{NAME});$", re.MULTILINE)
_IDENTITY = re.compile(
    rf"^ALTER TABLE (?:ONLY )?({_QUALIFIED}) ALTER COLUMN ({NAME}) ADD GENERATED [A-Z ]+ AS IDENTITY \("
    rf"\s+SEQUENCE NAME ({_QUALIFIED})$",
    re.MULTILINE,
)
_DEFAULT = re.compile(
    rf"^ALTER TABLE (?:ONLY )?({_QUALIFIED}) ALTER COLUMN ({NAME}) SET DEFAULT .*?nextval\({_TEXT}::regclass\)",
    re.MULTILINE,
)
TABLE = re.compile(rf"^CREATE (?:UNLOGGED )?TABLE ({_QUALIFIED}) \((.*?)^\)", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(rf"^    ({NAME}) .*? DEFAULT .*?nextval\({_TEXT}::regclass\)", re.MULTILINE)

Column = tuple[str, ...]  # schema, table, column

# The value that a sequence gets is the one of the backup, or its present one if the backup has none for its columns;
# and at least the highest that is in use, in any table that takes numbers from it. A value that leaves no room for the
# next number is no number that the sequence has given, nor is one that an expression has made of its number.
_SET_POSITIONS = """
SET LOCAL client_encoding = 'UTF8';
DO $django_cfg_sequences$
DECLARE
    item record;
    place record;
    used numeric;
    present record;
BEGIN
    FOR item IN
        WITH %CHOSEN%,
        archived (place, last, called) AS (VALUES %ARCHIVED%),
        uses AS (
            SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
            UNION
            SELECT d.refobjid, f.adrelid, f.adnum FROM pg_attrdef f
            JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
              AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid = 0),
        columns AS (
            SELECT u.sequence, u.relation, a.attname, coalesce(nullif(t.typbasetype, 0), t.oid) AS type,
                u.relation IN (SELECT oid FROM related) AS is_chosen,
                array[n.nspname, c.relname, a.attname]::text[] AS place,
                coalesce(
                    (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = u.relation AND adnum = u.number)
                    ~ '^\\(?nextval\\(''([^'']|'''')*''::regclass\\)\\)?(::\\w+)?$', true) AS is_number
            FROM uses u JOIN pg_class s ON s.oid = u.sequence AND s.relkind = 'S'
            JOIN pg_class c ON c.oid = u.relation JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.number
            JOIN pg_type t ON t.oid = a.atttypid)
        SELECT q.seqrelid, q.seqrelid::regclass AS name, q.seqincrement AS step, q.seqmin, q.seqmax, b.last, b.called,
            pg_has_role((SELECT relowner FROM pg_class WHERE oid = q.seqrelid), 'USAGE') AS is_ours,
            array(SELECT format('SELECT %s(%I)::numeric FROM %s WHERE %2$I BETWEEN %4$s AND %5$s',
                    CASE WHEN q.seqincrement > 0 THEN 'max' ELSE 'min' END, attname, relation::regclass,
                    q.seqmin::numeric - least(q.seqincrement, 0), q.seqmax::numeric - greatest(q.seqincrement, 0))
                FROM columns
                WHERE sequence = q.seqrelid AND is_number
                  AND type IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype)
                  AND has_table_privilege(relation, 'SELECT') AND NOT row_security_active(relation)) AS queries
        FROM pg_sequence q
        LEFT JOIN LATERAL (
            SELECT last, called FROM archived a JOIN columns c ON c.place = a.place AND c.is_chosen
            WHERE c.sequence = q.seqrelid ORDER BY last * sign(q.seqincrement) DESC, called DESC LIMIT 1) b ON true
        WHERE q.seqrelid IN (SELECT sequence FROM columns WHERE is_chosen)
    LOOP
        IF item.is_ours THEN  -- changes nothing, and waits for transactions that have taken a number
            EXECUTE format('ALTER SEQUENCE %s INCREMENT BY %s', item.name, item.step);
        END IF;
        EXECUTE format('SELECT last_value, is_called FROM %s', item.name) INTO present;
        place := item;
        IF item.last IS NULL THEN
            place.last := present.last_value;
            place.called := present.is_called;
        END IF;
        FOR i IN 1 .. cardinality(item.queries) LOOP
            EXECUTE item.queries[i] INTO used;
            IF (used + item.step - place.last - CASE WHEN place.called THEN item.step ELSE 0 END) * sign(item.step) > 0
            THEN
                place.last := used;
                place.called := true;
            END IF;
        END LOOP;
        IF place.last <> present.last_value OR place.called <> present.is_called THEN
            EXECUTE format('ALTER SEQUENCE %s RESTART', item.name);
            PERFORM setval(item.name, place.last, place.called);
        END IF;
    END LOOP;
END $django_cfg_sequences$;
"""


@dataclass(frozen=True)
class Position:
    """What setval sets."""

    last: int
    is_called: bool


def find_positions(script: str) -> dict[Column, Position]:
    """Return the position of the sequence that each column takes its numbers from.

    :param script: what pg_restore makes of an archive's tables, sequences, and defaults.
    """
    positions = {
        split_name(name.replace("''", "'")): Position(int(last), called == "true")
        for name, last, called in _POSITION.findall(script)
    }
    return {column: positions[name] for column, name in _find_columns(script) if name in positions}


def build_positions(positions: Mapping[Column, Position], chosen: str) -> str:
    """Return SQL that sets the sequences of tables within a transaction.

    :param chosen: the common table expressions ``chosen`` and ``related``, of the tables.
    """
    rows = [
        f"({_build_array(column)}, {place.last}, {str(place.is_called).lower()})" for column, place in positions.items()
    ]
    none = "(NULL::text[], NULL::bigint, NULL::boolean)"
    return _SET_POSITIONS.replace("%CHOSEN%", chosen).replace("%ARCHIVED%", ", ".join([none, *rows]))


def _find_columns(script: str) -> Iterator[tuple[Column, Column]]:
    for sequence, column in _OWNED.findall(script):
        yield split_name(column), split_name(sequence)
    for table, column, sequence in _IDENTITY.findall(script):
        yield (*split_name(table), *split_name(column)), split_name(sequence)
    for table, column, sequence in _DEFAULT.findall(script):
        yield (*split_name(table), *split_name(column)), split_name(sequence.replace("''", "'"))
    for table, columns in TABLE.findall(script):
        for column, sequence in _COLUMN.findall(columns):
            yield (*split_name(table), *split_name(column)), split_name(sequence.replace("''", "'"))


def split_name(name: str) -> Column:
    """Return the parts of ``schema.name`` without their quotes."""
    return tuple(map(unquote_name, re.findall(NAME, name)))


def _build_array(parts: Iterable[str]) -> str:
    return f"array[{', '.join(map(quote_literal, parts))}]::text[]"
