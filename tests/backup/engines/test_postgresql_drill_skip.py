"""Drills can leave out what a restore can leave out: the proof keeps it, and whatever shows the proof shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_cfg.backup import create_backup, drill_backup
from django_cfg.backup.errors import BackupError, RestoreRefused, VerificationFailed
from django_cfg.backup.manifest import Proof
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from tests.support.database_servers import on_every_postgresql
from tests.support.django_project import Site
from tests.support.postgresql_databases import PostgreSQLServer

TRIGGER = "TRIGGER public ns bump"
# PostgreSQL takes the trigger before the last column is there, and not again.
NAMESPACE = (
    "CREATE TABLE ns (id int PRIMARY KEY, name text)",
    "CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    "CREATE TRIGGER bump BEFORE UPDATE ON ns FOR EACH ROW WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION bump()",
    "COMMENT ON TRIGGER bump ON ns IS 'of the trigger'",
    "ALTER TABLE ns ADD COLUMN depth int GENERATED ALWAYS AS (length(name)) STORED",
)


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    """With a backup that holds a trigger that is refused."""
    postgresql_server.run(*NAMESPACE)
    create_backup()
    return postgresql_server


def failure(action: Callable[[], object], kind: type[BackupError]) -> str:
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


def stored_proofs() -> list[Proof]:
    return list(read_catalog(current_project().storage).proofs.values())


@on_every_postgresql
@pytest.mark.parametrize("skip", [{"skip": [TRIGGER]}, {"skip": ["TRIGGER public*"]}, {"skip_failing": True}])
def test_the_proof_keeps_what_was_left_out(server: PostgreSQLServer, skip: dict[str, Any]) -> None:
    assert TRIGGER in failure(drill_backup, VerificationFailed)
    proof = drill_backup(**skip)
    assert proof.succeeded
    assert [text.partition(" (")[0] for text in proof.skipped] == [TRIGGER, "COMMENT public TRIGGER bump ON ns"]
    assert stored_proofs() == [proof]


def test_what_holds_rows_is_never_left_out(server: PostgreSQLServer) -> None:
    for skip in ("TABLE DATA public book", "TRIGGER public nothing"):
        assert f"--skip {skip!r}" in failure(lambda skip=skip: drill_backup(skip=[skip]), RestoreRefused)
    assert stored_proofs() == []


def test_the_command_and_the_lists_show_it(server: PostgreSQLServer) -> None:
    answer = server.site.call("backup_verify", "latest", "--drill", "--skip", TRIGGER)
    assert answer.code == 0
    assert "proved. Restored and compared" in answer.stdout
    assert f"Left out: {TRIGGER}; COMMENT public TRIGGER bump ON ns" in answer.stderr
    assert f"Left out: {TRIGGER}; COMMENT" in server.site.call("backup_show", "latest").stdout
    for command in ("backup_list", "backup_status"):
        assert " s, 2 objects left out " in server.site.call(command).stdout
    answer = server.site.call("backup_verify", "latest", "--drill", "--skip-failing", "--json")
    assert answer.json[0]["proof"]["skipped"][0].startswith(f"{TRIGGER} (")


def test_a_scheduled_drill_leaves_out_what_is_configured(server: PostgreSQLServer) -> None:
    server.site.call("migrate", verbosity=0)
    drills = {"schedule": {"enabled": False}, "verification": {"enabled": True, "schedule": {"cron": "* * * * *"}}}
    empty = {"alias": "empty", "enabled": False}
    server.site.configure(databases=[{"alias": "default", "drill_skip": [TRIGGER]}, empty], **drills)
    tick()
    (row,) = Run.objects.filter(kind="verification")
    assert (row.state, row.message) == ("succeeded", "")
    assert stored_proofs()[0].skipped[0] == TRIGGER
    server.site.configure(databases=[{"alias": "default", "drill_skip_failing": True}, empty], **drills)
    assert drill_backup().skipped[0].startswith(TRIGGER)


def test_without_a_drill_it_is_wrong_usage(site: Site) -> None:
    for option in (["--skip", TRIGGER], ["--skip-failing"]):
        answer = site.call("backup_verify", *option)
        assert answer.code == 2
        assert "give --drill, too" in answer.stderr


def test_with_some_tables_it_is_wrong_usage(server: PostgreSQLServer) -> None:
    answer = server.site.call("backup_restore", "latest", "--yes", "--skip-failing", "--tables", "book")
    assert answer.code == 2
    assert "With --tables only rows are restored" in answer.stderr
