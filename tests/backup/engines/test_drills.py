"""Drills keep their contract on every engine of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.backup import create_backup, drill_backup
from django_cfg.backup.engines.mysql.staging_schemas import MARKER
from django_cfg.backup.engines.postgresql.staging import StagingRestoration
from django_cfg.backup.errors import BackupError, RestoreRefused, VerificationFailed
from tests.backup.engines.drill_contract import DrillContract, proof_of
from tests.support.databases import AUTHORS, Server
from tests.support.django_project import Site
from tests.support.mysql_databases import MySQLServer
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.sqlite_databases import SQLiteServer


def files(site: Site) -> set[Path]:
    """All that is next to the databases."""
    return {path for path in site.root.iterdir() if path.name != "backups"}


class TestSQLiteDrills(DrillContract):
    @pytest.fixture
    def server(self, site: Site) -> Server:
        return SQLiteServer(site, "delete")

    def traces(self, server: Server) -> list[str]:
        known = {"db.sqlite3", "empty.sqlite3"}
        return sorted(path.name for path in files(server.site) if path.name not in known)

    def test_the_database_itself_may_be_missing(self, server: Server) -> None:
        """And stays so: nothing is made in its place."""
        create_backup()
        server.site.close()
        server.site.database.unlink()
        before = files(server.site)
        assert drill_backup().succeeded
        assert files(server.site) == before


class TestPostgreSQLDrills(DrillContract):
    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
        return postgresql_server

    def traces(self, server: Server) -> list[str]:
        assert isinstance(server, PostgreSQLServer)
        return server.made("restoring") + server.made("before")

    def test_without_the_right_to_make_a_scratch_it_is_refused(
        self, server: Server, postgresql_server: PostgreSQLServer
    ) -> None:
        """A restore would go into the database itself: the message names another place, and nothing is touched."""
        manifest = create_backup()
        role = postgresql_server.role("keeper")
        postgresql_server.server.sql(f"ALTER DATABASE {postgresql_server.databases['default']} OWNER TO {role}")
        server.run(*(f"ALTER TABLE {table} OWNER TO {role}" for table in ("author", "book")), "DELETE FROM book")
        postgresql_server.use(USER=role, PASSWORD="pw")
        with pytest.raises(RestoreRefused, match=r"may not create.*drill_alias"):
            drill_backup()
        assert server.count("book") == 0
        assert proof_of(manifest) is None

    def test_what_rows_hold_is_no_excuse(self, server: Server) -> None:
        """A dump that cannot be restored, whose rows look like a server's refusal: the backup is to blame."""
        server.run(
            "CREATE TABLE allowed (word text)",
            "INSERT INTO allowed VALUES ('all')",
            "CREATE FUNCTION fits(text) RETURNS boolean LANGUAGE sql AS "
            "'SELECT EXISTS (SELECT 1 FROM allowed WHERE word <> $1)'",
            "CREATE TABLE log (line text CHECK (fits(line)))",
            "INSERT INTO log VALUES ('permission denied for disk full, no space left')",
        )
        manifest = create_backup()
        with pytest.raises(VerificationFailed, match='"allowed" does not exist'):
            drill_backup()
        proof = proof_of(manifest)
        assert proof
        assert not proof.succeeded

    def test_a_partial_backup_is_refused(self, server: Server) -> None:
        """It goes into the database as it is."""
        server.site.configure(databases=[{"alias": "default", "include_tables": ["author"]}])
        manifest = create_backup()
        with pytest.raises(RestoreRefused, match="into the database"):
            drill_backup()
        assert server.count("author") == AUTHORS
        assert proof_of(manifest) is None


class TestMySQLDrills(DrillContract):
    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> MySQLServer:
        return mysql_server

    def traces(self, server: Server) -> list[str]:
        assert isinstance(server, MySQLServer)
        return sorted(server.schemas())

    def test_without_the_right_to_make_a_scratch_it_is_refused(self, server: Server, mysql_server: MySQLServer) -> None:
        manifest = create_backup()
        user = mysql_server.user("keeper@'%'", "ALL ON {db}.*")
        server.run("DELETE FROM book")
        mysql_server.act_as(user)
        with pytest.raises(RestoreRefused, match=r"may not create.*drill_alias"):
            drill_backup()
        assert server.count("book") == 0
        assert proof_of(manifest) is None

    @pytest.mark.parametrize("signed", [False, True], ids=["no table", "an empty table"])
    def test_a_scratch_that_its_maker_could_not_sign_is_swept(self, server: Server, signed: bool) -> None:
        """Killed after CREATE DATABASE; what is not empty is not ours to drop."""
        assert isinstance(server, MySQLServer)
        create_backup()
        beginning = f"{server.databases['default']}__restore_new_"
        left, filled, other = f"{beginning}20250101020304", f"{beginning}20250101020305", f"{beginning}mine"
        server.server.sql(*(f"CREATE DATABASE {name}" for name in (left, filled, other)))
        server.server.sql(f"CREATE TABLE {filled}.book (id int)")
        if signed:
            server.server.sql(f"CREATE TABLE {left}.{MARKER} (made_for int, kind int, state int, scratch int)")
        assert drill_backup().succeeded
        assert self.traces(server) == [filled, other]


def test_a_server_that_is_stopped_in_the_middle_proves_nothing(own_postgresql_server: PostgreSQLServer) -> None:
    """That is no fault of the backup."""
    server = own_postgresql_server
    queries = ["SELECT 1 FROM (SELECT pg_terminate_backend(pg_backend_pid())) t"]
    server.site.configure(databases=[{"alias": "default", "verification_queries": queries}])
    manifest = create_backup()

    def stop(self: StagingRestoration, query: str) -> object:
        server.server.stop("immediate")
        return ask(self, query)

    ask = StagingRestoration.fetch_value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StagingRestoration, "fetch_value", stop)
        with pytest.raises(BackupError) as caught:
            drill_backup()
    assert not isinstance(caught.value, VerificationFailed)
    assert proof_of(manifest) is None
    server.server.start()
    server.site.configure()
    assert drill_backup().succeeded
    assert server.made("restoring") == []
