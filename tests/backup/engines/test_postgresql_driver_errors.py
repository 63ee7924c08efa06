"""What the driver quotes of a row reaches no message and no proof either; it says no word ERROR before it."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.postgresql.error_text import describe_error
from django_cfg.backup.errors import VerificationFailed
from tests.support.postgresql_databases import PostgreSQLServer

SECRET = "t0p-secret"
FAILING = [
    ("SELECT title::int FROM book", 'invalid input syntax for type integer: "..."'),
    ("SELECT (title || '1')::numeric FROM book", 'invalid input syntax for type numeric: "..."'),
    ("SELECT '99999999999'::int", 'value "..." is out of range for type integer'),
    ("SELECT to_date(title, 'YYYY') FROM book", 'invalid value "..." for "YYYY"'),
    ("SELECT ('1' || repeat('0', 400))::float8", '"..." is out of range for type double precision'),
    ("SELECT 1 / 0", "division by zero"),
    ("SELECT nothing FROM book", 'column "nothing" does not exist'),
]


@pytest.mark.parametrize(("query", "expected"), FAILING)
def test_a_verification_query_that_fails(postgresql_server: PostgreSQLServer, query: str, expected: str) -> None:
    """In a drill, whose proof is stored in plain, and in a restore."""
    server = postgresql_server
    server.site.configure(databases=[{"alias": "default", "verification_queries": [query]}])
    server.run(f"UPDATE book SET title = '{SECRET}'")
    create_backup()
    answer = server.site.call("backup_verify", "latest", "--drill")
    assert answer.code == 1
    assert expected in answer.stderr
    for options in ({}, {"in_place": True, "discard_old": True}):
        with pytest.raises(VerificationFailed) as caught:
            restore_backup(**options)  # type: ignore[arg-type]
        assert expected in str(caught.value)
        assert SECRET not in str(caught.value)
    (proof,) = server.site.backups.glob("*.proof.json")
    assert SECRET not in answer.stdout + answer.stderr + proof.read_text()


@pytest.mark.parametrize(
    "message",
    [
        'connection failed: connection to server at "127.0.0.1", port 5 failed: FATAL:  role "x" does not exist',
        'could not translate host name "db" to address: Name or service not known',
        'connection to server at "127.0.0.1", port 5 failed: FATAL:  password authentication failed for user "shop"',
        'permission denied for table "book"',
    ],
)
def test_names_stay(message: str) -> None:
    assert describe_error(ValueError(message)) == message


def test_a_message_of_several_lines() -> None:
    said = f'invalid input syntax for type integer: "{SECRET}"\nCONTEXT:  PL/pgSQL function inline_code_block line 5'
    assert SECRET not in describe_error(ValueError(said))
