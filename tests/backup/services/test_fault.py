"""Fault classification: only the server's own error decides, never the text that it quotes."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest

from django_cfg.backup.errors import BackupError, RestoreFailed, ToolFailed, VerificationFailed
from django_cfg.backup.services.verification.fault import is_environment_fault

ROW = "permission denied, disk full, out of memory, no space left on device, access denied"


def failed(cause: BaseException | None) -> BackupError:
    error = RestoreFailed(f"The restore failed: {cause}.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "words",
    [
        'pg_restore: error: could not execute query: ERROR:  permission denied to create extension "citext"\n'
        "HINT:  Must have CREATE privilege on current database to create this extension.",
        'pg_restore: error: COPY failed for table "log": ERROR:  could not write: No space left on device',
        'pg_restore: error: could not execute query: ERROR:  extension "postgis" is not available',
        "psql:<stdin>:12: ERROR:  canceling statement due to lock timeout",
        "pg_restore: while PROCESSING TOC:\n"
        "pg_restore: from TOC entry 3; 1 2 ACL log postgres\n"
        "pg_restore: error: could not execute query: ERROR:  must be owner of table log",
        "pg_restore: error: out of memory",
        "ERROR 1142 (42000) at line 30: CREATE command denied to user 'shop'@'localhost' for table 'log'",
        "ERROR 1273 (HY000) at line 9: Unknown collation: 'utf8mb4_0900_ai_ci'",
        "ERROR 1114 (HY000) at line 40: The table 'log' is full",
    ],
)
def test_failures_of_the_server_are_not_the_backups_fault(words: str) -> None:
    assert is_environment_fault(failed(ToolFailed("the tool", 1, words)))


@pytest.mark.parametrize(
    "words",
    [
        "pg_restore: error: could not execute query: FEHLER:  keine Berechtigung, um Erweiterung »citext« zu erzeugen",
        "psql:<stdin>:12: ERREUR:  annulation de la requête à cause du délai écoulé pour l'obtention des verrous",
        "pg_restore: from TOC entry 3; 1 2 ACL log postgres\n"
        "pg_restore: error: could not execute query: ОШИБКА:  нужно быть владельцем таблицы log",
    ],
)
def test_what_a_server_says_in_another_language_is_not_held_against_the_backup(words: str) -> None:
    assert is_environment_fault(failed(ToolFailed("the tool", 1, words)))


@pytest.mark.parametrize(
    "words",
    [
        f'pg_restore: error: COPY failed for table "log": ERROR:  invalid input syntax for type integer: "{ROW}"\n'
        f'CONTEXT:  COPY log, line 1, column line: "{ROW}"',
        f'pg_restore: error: could not execute query: ERROR:  could not create unique index "log_line"\n'
        f"DETAIL:  Key (line)=({ROW}) is duplicated.",
        f'psql:<stdin>:7: ERROR:  relation "log" does not exist\nLINE 1: {ROW}',
        f"ERROR 1062 (23000) at line 40: Duplicate entry '{ROW}' for key 'line'",
        f"ERROR 1064 (42000) at line 4: You have an error in your SQL syntax; near '{ROW}' at line 1",
        f"pg_restore: error: could not read from input file: {ROW}",
        "pg_restore: WARNING:  database has no actual collation version\n"
        "pg_restore: error: could not uncompress data: invalid block type",
        "psql:<stdin>:7: NOTICE:  table is skipped\npsql: error: input file is damaged",
        ROW,
    ],
)
def test_quoted_text_and_warnings_do_not_count(words: str) -> None:
    assert not is_environment_fault(failed(ToolFailed("the tool", 1, words)))


def test_a_killed_program_is_not_the_backups_fault() -> None:
    assert is_environment_fault(failed(ToolFailed("pg_restore", -9, "")))


@pytest.mark.parametrize(
    ("cause", "blamed"),
    [
        (psycopg.errors.InsufficientPrivilege(ROW), True),
        (psycopg.errors.DiskFull(""), True),
        (psycopg.errors.UndefinedTable(ROW), False),
        (OSError(28, "No space left on device"), True),
        (Exception(1142, "SELECT command denied"), True),
        (Exception(1146, ROW), False),
        (sqlite3.DatabaseError(ROW), False),
        (None, False),
    ],
    ids=repr,
)
def test_errors_of_drivers(cause: BaseException | None, blamed: bool) -> None:
    assert is_environment_fault(failed(cause)) is blamed


def test_the_packages_own_messages_do_not_count() -> None:
    assert not is_environment_fault(VerificationFailed(f"shop differs from its manifest: {ROW} is missing."))
