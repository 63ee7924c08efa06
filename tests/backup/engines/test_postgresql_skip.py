"""Objects that the server does not take again: they are named, and a restore can go on without them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import BackupError, RestoreFailed, RestoreRefused, UsageError, VerificationFailed
from django_cfg.backup.models import Run
from django_cfg.backup.services.verification.drill import drill_backup
from tests.support.database_servers import on_every_postgresql
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.django_project import Site
from tests.support.postgresql_databases import PostgreSQLServer

IN_PLACE = {"in_place": True, "discard_old": True}
Restore = Callable[..., Any]
TRIGGER = "TRIGGER public region region_cascade"
# PostgreSQL takes the trigger before the last column is there, and not again.
NAMESPACE = (
    "CREATE TABLE ns (id int PRIMARY KEY, name text)",
    "CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    "CREATE TRIGGER bump BEFORE UPDATE ON ns FOR EACH ROW WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION bump()",
    "COMMENT ON TRIGGER bump ON ns IS 'of the trigger'",
    "ALTER TABLE ns ADD COLUMN depth int GENERATED ALWAYS AS (length(name)) STORED",
)
# An operator that is found by the search_path, as in NetBox.
NETBOX = (
    "CREATE EXTENSION ltree",
    "CREATE TABLE region (id int PRIMARY KEY, path ltree)",
    "CREATE FUNCTION cascade_path() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    "CREATE TRIGGER region_cascade AFTER UPDATE ON region FOR EACH ROW "
    "WHEN (OLD.path IS DISTINCT FROM NEW.path) EXECUTE FUNCTION cascade_path()",
    "COMMENT ON TRIGGER region_cascade ON region IS 'of the trigger'",
    "CREATE TRIGGER other AFTER UPDATE ON region FOR EACH ROW EXECUTE FUNCTION cascade_path()",
    "COMMENT ON TRIGGER other ON region IS 'of the other'",
    "INSERT INTO region VALUES (1, '1'), (2, '1.2')",
)
GENERATED = (
    "CREATE FUNCTION bare(value text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(value)'",
    "CREATE FUNCTION plain(value text) RETURNS text AS $$ BEGIN RETURN bare(value); END $$ LANGUAGE plpgsql IMMUTABLE",
    "CREATE TABLE product (id int PRIMARY KEY, name text, slug text GENERATED ALWAYS AS (plain(name)) STORED)",
    "INSERT INTO product VALUES (1, 't0p-secret')",
)
VIEW = (
    "CREATE TABLE mention (id int PRIMARY KEY, software int)",
    "INSERT INTO mention VALUES (1, 1), (2, 1)",
    "CREATE FUNCTION counted() RETURNS TABLE (software int, n bigint) LANGUAGE plpgsql STABLE AS "
    "$$ BEGIN RETURN QUERY SELECT m.software, count(*) FROM mention m GROUP BY 1; END $$",
    "CREATE MATERIALIZED VIEW overview AS SELECT * FROM counted()",
    "CREATE MATERIALIZED VIEW second AS SELECT count(*) AS n FROM overview",
    "CREATE UNIQUE INDEX ON overview (software)",
    "CREATE MATERIALIZED VIEW good AS SELECT count(*) AS n FROM mention",
)


@pytest.fixture
def server(own_postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    """The server with contributed extensions."""
    return own_postgresql_server


@pytest.fixture(params=["next to it", "in place"])
def restore(request: pytest.FixtureRequest) -> Restore:
    return partial(restore_backup, **(IN_PLACE if request.param == "in place" else {}))


def failure(action: Callable[[], object], kind: type[BackupError] = RestoreFailed) -> str:
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


def triggers(server: PostgreSQLServer) -> list[tuple[Any, ...]]:
    return server.run(
        "SELECT tgname, obj_description(oid, 'pg_trigger') FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    )


def test_the_object_is_named_with_true_advice(server: PostgreSQLServer, restore: Restore) -> None:
    server.run(*NETBOX)
    create_backup()
    before = server.text()
    said = failure(restore)
    assert f"at the entry {TRIGGER}, and it is as it was" in said
    assert "operator does not exist" in said
    assert "empty search_path" in said
    assert f"--skip '{TRIGGER}', or all that fails of its kind: --skip-failing" in said
    assert "First create there" not in said
    fail_unless_equal(before, server.text())


@pytest.mark.parametrize("skip", [{"skip": [TRIGGER]}, {"skip": ["TRIGGER * region_cas*"]}, {"skip_failing": True}])
def test_a_restore_goes_on_without_it(server: PostgreSQLServer, restore: Restore, skip: dict[str, Any]) -> None:
    """Its comment goes too, and no other trigger and comment."""
    server.run(*NETBOX)
    create_backup()
    server.run("DELETE FROM region", "DELETE FROM book")
    report = restore(**skip)
    assert server.count("region") == 2
    assert server.count("book") == BOOKS
    assert triggers(server) == [("other", "of the other")]
    named = [skipped.partition(" (")[0] for skipped in report.skipped]
    assert sorted(named) == ["COMMENT public TRIGGER region_cascade ON region", TRIGGER]


def test_a_trigger_that_is_not_taken_again(server: PostgreSQLServer, restore: Restore) -> None:
    server.run(*NAMESPACE)
    create_backup()
    assert "at the entry TRIGGER public ns bump" in failure(restore)
    assert len(restore(skip_failing=True).skipped) == 2


def test_rows_are_never_left_out(server: PostgreSQLServer, restore: Restore) -> None:
    """A generated column: the table is named, and none of its rows."""
    server.run(*GENERATED)
    create_backup()
    for options in ({}, {"skip_failing": True}):
        said = failure(partial(restore, **options))
        assert "at the entry TABLE DATA public product" in said
        assert "empty search_path" in said
        assert "cannot be left out; docs/restore-by-hand.md" in said
        assert "t0p-secret" not in said


def test_some_tables_name_theirs(server: PostgreSQLServer) -> None:
    server.run(*GENERATED, "ALTER FUNCTION plain(text) SET search_path = public")
    create_backup()
    server.run("ALTER FUNCTION plain(text) RESET search_path")
    assert "at the entry TABLE DATA public product" in failure(lambda: restore_backup(tables=["product"]))


def test_materialized_views_are_left_without_rows(server: PostgreSQLServer, restore: Restore) -> None:
    server.run(*VIEW)
    create_backup()
    assert "at the entry MATERIALIZED VIEW DATA public overview" in failure(restore)
    skipped = restore(skip_failing=True).skipped
    assert [text.partition(" (")[0] for text in skipped] == [
        "MATERIALIZED VIEW DATA public overview", "MATERIALIZED VIEW DATA public second"
    ]  # fmt: skip
    assert 'relation "mention" does not exist' in skipped[0]
    assert server.run("SELECT n FROM good") == [(2,)]
    server.run("REFRESH MATERIALIZED VIEW overview")
    assert server.run("SELECT n FROM overview") == [(2,)]


@pytest.fixture
def remote(server: PostgreSQLServer) -> PostgreSQLServer:
    """A view over a server that has gone since the backup."""
    server.run("CREATE TABLE parcel (id int)", "INSERT INTO parcel VALUES (1)", alias="empty")
    server.run(
        "CREATE EXTENSION postgres_fdw",
        f"CREATE SERVER cadastre FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port "
        f"'{server.server.port}', dbname '{server.databases['empty']}')",
        f"CREATE USER MAPPING FOR owner SERVER cadastre OPTIONS (user 'owner', password '{server.server.PASSWORD}')",
        "CREATE FOREIGN TABLE parcels (id int) SERVER cadastre OPTIONS (table_name 'parcel')",
        "CREATE MATERIALIZED VIEW parcels_here AS SELECT * FROM parcels",
    )
    create_backup()
    server.server.sql(f"DROP DATABASE {server.databases['empty']} WITH (FORCE)")
    return server


def test_a_foreign_server_that_is_away(remote: PostgreSQLServer, restore: Restore) -> None:
    said = failure(restore)
    assert "A foreign server does not answer" in said
    assert "--skip 'MATERIALIZED VIEW DATA public parcels_here'" in said
    assert len(restore(skip=["MATERIALIZED VIEW DATA public parcels_here"]).skipped) == 1


def test_a_drill_does_not_blame_the_backup_for_it(remote: PostgreSQLServer) -> None:
    assert "A foreign server does not answer" in failure(drill_backup)
    assert remote.site.stored() == [name for name in remote.site.stored() if "proof" not in name]


def test_a_check_that_reads_another_table(server: PostgreSQLServer, restore: Restore) -> None:
    server.run(
        "CREATE TABLE zterms (id int PRIMARY KEY, kind text)",
        "CREATE FUNCTION is_kind(i int, k text) RETURNS boolean LANGUAGE sql STABLE SET search_path = public "
        "AS $$ SELECT EXISTS (SELECT FROM zterms WHERE id = i AND kind = k) $$",
        "CREATE TABLE frames (id int PRIMARY KEY, term int REFERENCES zterms, CHECK (is_kind(term, 'level')))",
        "INSERT INTO zterms VALUES (1, 'level')",
        "INSERT INTO frames VALUES (1, 1)",
    )
    create_backup()
    said = failure(restore)
    assert "at the entry TABLE DATA public frames" in said
    assert "A CHECK may look at its own row alone" in said
    assert "docs/restore-by-hand.md" in said


@pytest.mark.parametrize(
    ("skip", "message"),
    [
        ("TRIGGER public region nothing", "names nothing in the backup"),
        ("TABLE DATA public book", "never left out"),
        ("TABLE public*", "never left out"),
        ("*book_author_id_fkey", "never left out"),
    ],
)
def test_what_may_not_be_left_out(server: PostgreSQLServer, restore: Restore, skip: str, message: str) -> None:
    create_backup()
    before = server.text()
    assert message in failure(lambda: restore(skip=[skip]), RestoreRefused)
    fail_unless_equal(before, server.text())


@pytest.mark.parametrize("skip", [{"skip_failing": True}, {"skip": [TRIGGER]}])
def test_a_restore_of_some_tables_refuses_it(server: PostgreSQLServer, skip: dict[str, Any]) -> None:
    create_backup()
    said = failure(lambda: restore_backup(tables=["book"], **skip), UsageError)
    assert "is for the restore of a complete backup" in said
    assert "With --tables only rows are restored" in said


@pytest.mark.parametrize("skip", [{"skip_failing": True}, {"skip": [TRIGGER]}])
def test_another_engine_refuses_it(site: Site, skip: dict[str, Any]) -> None:
    site.sql("CREATE TABLE book (id int)")
    site.create()
    for act in (restore_backup, drill_backup):
        assert "is not possible on SQLite" in failure(partial(act, **skip), UsageError)


@on_every_postgresql
@pytest.mark.parametrize("in_place", [False, True])
def test_many_fail_among_more(postgresql_server: PostgreSQLServer, in_place: bool) -> None:
    """All that can be restored is, as it was, in the order that it needs."""
    server = postgresql_server
    reader = server.role('"Odd reader"')
    server.run(
        *NAMESPACE,
        "SET app.session = '1'",
        "CREATE MATERIALIZED VIEW overview AS SELECT current_setting('app.session') AS n",
        "CREATE MATERIALIZED VIEW second AS SELECT count(*) AS n FROM overview",
        "CREATE MATERIALIZED VIEW good AS SELECT count(*) AS n FROM ns",
        "ALTER TABLE ns ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY good ON ns TO {reader} USING (true)",
        f"GRANT SELECT ON ns TO {reader}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {reader}",
        "COMMENT ON COLUMN ns.name IS $$--\n-- Name: x; Type: COMMENT; Schema: public; Owner: y\n--\n'; DROP $$",
        "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$",
        "CREATE EVENT TRIGGER noting ON ddl_command_end EXECUTE FUNCTION note()",
        *(f"CREATE TRIGGER t{i} AFTER UPDATE ON ns FOR EACH ROW EXECUTE FUNCTION bump()" for i in range(9)),
    )
    create_backup()
    before = server.text()
    skipped = restore_backup(skip_failing=True, in_place=in_place, discard_old=True).skipped
    assert sorted(text.partition(" (")[0] for text in skipped) == [
        "COMMENT public TRIGGER bump ON ns", "MATERIALIZED VIEW DATA public overview",
        "MATERIALIZED VIEW DATA public second", "TRIGGER public ns bump",
    ]  # fmt: skip
    server.run("SET app.session = '1'", "REFRESH MATERIALIZED VIEW overview", "REFRESH MATERIALIZED VIEW second")
    after = server.text()
    assert [line for line in before if line not in after and "bump" not in line] == []


def test_the_command_the_preview_and_the_history_say_it(server: PostgreSQLServer) -> None:
    server.site.call("migrate", verbosity=0)
    server.run(*NETBOX)
    create_backup()
    answer = server.site.call("backup_restore", "latest", "--yes", "--skip", TRIGGER, "--skip-failing")
    assert answer.code == 0
    assert f"without {TRIGGER} (--skip)" in answer.stderr
    assert "that fail are left out (--skip-failing)" in answer.stderr
    assert f"Left out: {TRIGGER}" in answer.stdout + answer.stderr
    run = Run.objects.get(kind=Run.Kind.RESTORE)
    assert run.state == Run.State.SUCCEEDED
    assert run.message.startswith(f"Left out: {TRIGGER}; COMMENT public TRIGGER region_cascade")


def test_no_space_is_no_reason_to_leave_something_out(server: PostgreSQLServer, restore: Restore) -> None:
    server.run(
        "CREATE FUNCTION fills() RETURNS int LANGUAGE plpgsql AS "
        "$$ BEGIN IF current_setting('app.is_full', true) = 'on' THEN RAISE 'full' USING ERRCODE = '53100'; END IF; "
        "RETURN 1; END $$",
        "CREATE MATERIALIZED VIEW filled AS SELECT fills() AS i",
    )
    create_backup()
    server.server.sql(f"ALTER DATABASE {server.databases['default']} SET app.is_full = 'on'")
    before = server.text()
    said = failure(partial(restore, skip_failing=True))
    assert "MATERIALIZED VIEW DATA public filled" in said
    fail_unless_equal(before, server.text())


def test_a_mismatch_names_no_entry(server: PostgreSQLServer) -> None:
    """The check is not part of the archive."""
    server.run(*VIEW[:2])
    create_backup()
    (path,) = server.site.backups.glob("*.json")
    path.write_text(path.read_text().replace(f'"rows": {BOOKS}', f'"rows": {BOOKS + 1}'))
    assert "entry" not in failure(partial(restore_backup, **IN_PLACE), VerificationFailed)
