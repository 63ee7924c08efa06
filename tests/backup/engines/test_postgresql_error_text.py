"""Rows, statements and passwords that the server quotes reach no message, no history and no proof."""

from __future__ import annotations

import random
import subprocess
import traceback

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.postgresql.error_text import (
    STDERR_LINES,
    remove_row_data,
    remove_row_data_of_several,
)
from django_cfg.backup.engines.postgresql.libpq import build_environment
from django_cfg.backup.errors import BackupError, RestoreFailed
from tests.support.postgresql_databases import PostgreSQLServer

SECRET = "t0p-secret"


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    return postgresql_server


def said_by_psql(server: PostgreSQLServer, script: str) -> str:
    argv = [str(server.server.programs / "psql"), "--no-psqlrc", server.databases["default"]]
    done = subprocess.run(argv, input=script, env=server.environment(), capture_output=True, text=True, check=True)
    return done.stderr


@pytest.mark.parametrize(
    ("script", "kept"),
    [
        (f"INSERT INTO t VALUES (0, '{SECRET}')", ["ERROR:", '"t_i_check"', "Failing row contains (...)"]),
        (f"INSERT INTO t VALUES (0, E'{SECRET}\n{SECRET})x')", ["Failing row contains (...)"]),
        (f"COPY t FROM stdin;\n0\t{SECRET}\n\\.\n", ["COPY t, line 1", "Failing row contains (...)"]),
        (f"COPY t FROM stdin;\n{SECRET}\tx\n\\.\n", ["COPY t, line 1, column i", 'type integer: "..."']),
        (f"COPY t FROM stdin;\n1\t{SECRET}\t2\n\\.\n", ["extra data", "COPY t, line 1"]),
        (f"INSERT INTO u VALUES ('{SECRET}'), ('{SECRET}')", ["u_pkey", "Key (k)=(...)"]),
        (f"SELECT '{SECRET}'::int", ['type integer: "..."']),
        (f"SELECT '{{\"a\": {SECRET}}}'::json", ["type json", 'Token "..."']),
        (f"SELECT nothing('{SECRET}')", ["nothing(unknown) does not exist", "HINT"]),
        (f"SELECT query_to_xml('SELECT 1/0 /* {SECRET} */', true, true, '')", ["division by zero"]),
        (f"DO $$ BEGIN EXECUTE 'SELECT 1/0 /* {SECRET} */'; END $$", ["division by zero", "line 1 at EXECUTE"]),
        (f"INSERT INTO p VALUES ('{SECRET}')", ["no partition", "contains (...)"]),
    ],
)
def test_what_the_server_says(server: PostgreSQLServer, script: str, kept: list[str]) -> None:
    server.run(
        "CREATE TABLE t (i int CHECK (i > 0), x text)", "CREATE TABLE u (k text PRIMARY KEY)",
        "CREATE TABLE p (k text) PARTITION BY LIST (k)",
    )  # fmt: skip
    raw = said_by_psql(server, script)
    assert SECRET in raw
    shown = remove_row_data(raw)
    assert SECRET not in shown, shown
    for part in kept:
        assert part in shown, shown


def test_a_command_of_pg_restore() -> None:
    said = (
        "pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry 1; 1 1 USER MAPPING USER MAPPING x owner\n"
        f'pg_restore: error: could not execute query: ERROR:  role "x" does not exist\nCommand was: CREATE\n'
        f"HINT: OPTIONS (password '{SECRET}');\n\npg_restore: warning: errors ignored on restore: 1"
    )
    assert remove_row_data(said) == (
        "pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry 1; 1 1 USER MAPPING USER MAPPING x owner\n"
        'pg_restore: error: could not execute query: ERROR:  role "x" does not exist\n'
        "pg_restore: warning: errors ignored on restore: 1"
    )


def test_the_programs_speak_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    variables = build_environment({})
    assert "LC_ALL" not in variables
    assert (variables["LC_MESSAGES"], variables["LC_CTYPE"]) == ("C", "de_DE.UTF-8")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            f"FEHLER:  ungültige Eingabesyntax für Typ integer: »{SECRET}«\n"
            f"CONTEXT:  COPY t, Zeile 1, Spalte i: »{SECRET}«",
            'FEHLER:  ungültige Eingabesyntax für Typ integer: "..."\nCONTEXT:  COPY t, Zeile 1, Spalte i',
        ),
        (
            "FEHLER:  neue Zeile für Relation »t« verletzt Check-Constraint »t_i_check«\n"
            f"DETAIL:  Fehlgeschlagene Zeile enthält (0, {SECRET}).\nCONTEXT:  COPY t, Zeile 1: »0\t{SECRET}«",
            'FEHLER:  neue Zeile für Relation "..."\n'
            "DETAIL:  Fehlgeschlagene Zeile enthält (...)\nCONTEXT:  COPY t, Zeile 1",
        ),
        (
            f"FEHLER:  Wert »{SECRET}« ist außerhalb des gültigen Bereichs für Typ integer",
            'FEHLER:  Wert "..." ist außerhalb des gültigen Bereichs für Typ integer',
        ),
        (
            f"ERREUR:  la ligne viole la contrainte « c »\nDETAIL:  La ligne en échec contient (0, {SECRET}).",
            'ERREUR:  la ligne viole la contrainte "..."\nDETAIL:  La ligne en échec contient (...)',
        ),
        (
            f"ERROR:  llave duplicada viola «u_pkey»\nDETAIL:  Ya existe la llave (k)=({SECRET}).",
            'ERROR:  llave duplicada viola "..."\nDETAIL:  Ya existe la llave (k)=(...).',
        ),
        (
            f"ERROR:  el nuevo registro viola «c»\nDETAIL:  La fila que falla contiene (0, {SECRET}).",
            'ERROR:  el nuevo registro viola "..."\nDETAIL:  La fila que falla contiene (...)',
        ),
        (
            f'ERRORE:  il valore "{SECRET}" non è compreso nel tipo integer',
            'ERRORE:  il valore "..." non è compreso nel tipo integer',
        ),
        (
            f'ОШИБКА:  неверный синтаксис для типа json\nDETAIL:  Ошибочный элемент текста "{SECRET}".',
            'ОШИБКА:  неверный синтаксис для типа json\nDETAIL:  Ошибочный элемент текста "...".',
        ),
        (f'ERROR:  "{SECRET}"型integerの入力構文が不正です', 'ERROR:  "..."型integerの入力構文が不正です'),
    ],
)
@pytest.mark.parametrize("program", ["pg_restore: error: could not execute query: ", "psql:<stdin>:3: "])
def test_a_server_that_speaks_another_language(said: str, shown: str, program: str) -> None:
    """Its language cannot be chosen without being a superuser."""
    assert remove_row_data(f"{program}{said}") == f"{program}{shown}"


def test_what_has_lost_its_beginning() -> None:
    assert remove_row_data("\n".join([SECRET] * STDERR_LINES)) == ""
    assert remove_row_data("pg_dump: something else\nand more") == "pg_dump: something else\nand more"


ONE = (
    "pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry {n}; 1259 1 INDEX i_{n} owner\n"
    'pg_restore: error: could not execute query: ERROR:  could not create unique index "i_{n}"\n'
)
SHOWN = (
    "pg_restore: from TOC entry {n};\n"
    'pg_restore: error: could not execute query: ERROR:  could not create unique index "i_{n}"\n'
)


def test_several_processes_of_which_one_fails() -> None:
    """What the others print while it does is progress."""
    said = (
        "pg_restore: launching item 2 INDEX i_2\n" + ONE.format(n=1) + f"DETAIL:  Key (t)=({SECRET}) is duplicated.\n"
        f"Command was: CREATE UNIQUE INDEX i_1 ON t (t) WHERE t <> '{SECRET}';\n\n\n"
        "pg_restore: finished item 2 INDEX i_2\npg_restore: error: a worker process died unexpectedly"
    )
    assert remove_row_data_of_several(said).replace("; \n", ";\n") == SHOWN.format(n=1) + (
        "DETAIL:  Key (t)=(...) is duplicated."
    )


def test_several_processes_that_print_at_the_same_time() -> None:
    """Each writes 1024 bytes at a time. Nothing of a row is shown, however the pieces follow one another."""
    for seed in range(300):
        choose = random.Random(seed)
        streams = [_written_by(number, choose) for number in range(3)]
        said = ""
        while streams := [stream for stream in streams if stream]:
            said += choose.choice(streams).pop(0)
        shown = remove_row_data_of_several(said)
        assert SECRET not in shown
        assert "could not create unique index" in shown


def _written_by(number: int, choose: random.Random) -> list[str]:
    row = SECRET * choose.choice([1, 100, 400])
    command = f"Command was: CREATE UNIQUE INDEX i_{number} ON t (t) WHERE t <> '{row}';\n\n\n"
    message = f'could not execute query: ERROR:  could not create unique index "i_{number}"\n'
    body = f"{message}DETAIL:  Key (t)=({row}) is duplicated.\n{command}"
    pieces = [body[place : place + 1024] for place in range(0, len(body), 1024)]
    entry = [f"from TOC entry {number}; 1259 1 INDEX i_{number} owner\n"]
    return ["pg_restore: ", "while PROCESSING TOC:\n", "pg_restore: ", *entry, "pg_restore: ", "error: ", *pieces]


def test_several_processes_none_of_which_has_failed_in_a_statement() -> None:
    refusal = 'pg_restore: error: connection to server at "db", port 1 failed: FATAL:  sorry, too many clients already'
    died = "pg_restore: error: a worker process died unexpectedly"
    said = f"pg_restore: launching item 2 INDEX i_2\n{refusal}\n{SECRET}\npg_restore: finished item 2\n{died}"
    assert remove_row_data_of_several(said) == f"{refusal}\n{died}"


@pytest.mark.parametrize("locale", ["", "C.UTF-8"])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_restore_that_a_row_makes_fail(
    server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch, in_place: bool, locale: str
) -> None:
    """By a function that is longer than a program's last words usually are, and a row that quotes itself; also where
    the programs speak another language, if it is installed."""
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setenv("LANGUAGE", "de")
    lines = "\n".join(f"  -- {n} {SECRET}" for n in range(50))
    server.run(
        f"CREATE FUNCTION fits(t text) RETURNS bool LANGUAGE plpgsql AS $$\n{lines}\nBEGIN RETURN true; END $$",
        "CREATE TABLE t (x text CHECK (fits(x)))", f"INSERT INTO t VALUES ('{SECRET}')",
        f"CREATE OR REPLACE FUNCTION fits(t text) RETURNS bool LANGUAGE plpgsql AS $$\n{lines}\n"
        "BEGIN RETURN false; END $$",
    )  # fmt: skip
    create_backup()
    with pytest.raises(BackupError, match="violates check constraint") as failure:
        restore_backup(in_place=in_place)
    trace = "".join(traceback.format_exception(failure.value))
    assert SECRET not in trace
    assert "COPY t, line 1" in trace
    answer = server.site.call("backup_verify", "latest", "--drill")
    assert answer.code
    assert SECRET not in answer.stdout + answer.stderr
    assert all(SECRET not in path.read_text() for path in server.site.backups.rglob("*.json"))


def test_a_long_statement_that_fails(server: PostgreSQLServer) -> None:
    """It is the server that refuses it, and its words are printed: the archive is complete."""
    role = server.role("keeper", "LOGIN CREATEDB PASSWORD 'pw'")
    lines = "\n".join(f"  -- {n} {SECRET}" for n in range(50))
    server.run(
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql SET log_statement = 'all' "
        f"AS $$\n{lines}\nBEGIN RETURN 1; END $$"
    )
    create_backup()
    server.server.sql(f"ALTER DATABASE {server.databases['empty']} OWNER TO {role}")
    server.use(USER=role, PASSWORD="pw")
    for in_place in (False, True):
        with pytest.raises(RestoreFailed, match=r'permission denied to set parameter "log_statement"') as failure:
            restore_backup(to="empty", in_place=in_place)
        assert SECRET not in "".join(traceback.format_exception(failure.value))
