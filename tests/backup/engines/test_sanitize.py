"""What a sanitizer of restored data gets and leaves on every engine; the servers' in the full tier."""

from __future__ import annotations

import logging
import traceback

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import RestoreFailed, RestoreRefused
from tests.support import sanitizers
from tests.support.databases import AUTHORS, BOOKS, Server
from tests.support.django_project import Site
from tests.support.mysql_databases import MySQLServer
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.sqlite_databases import SQLiteServer

HERE = sanitizers.__name__


def printed(error: BaseException) -> str:
    """*error* with all that led to it, as a log prints it."""
    return "".join(traceback.format_exception(error))


class SanitizeContract:
    """Inherit, and define the fixture ``server``."""

    raising: str  # a script that fails with words of its own

    @pytest.fixture
    def server(self) -> Server:
        raise NotImplementedError

    def names(self, server: Server, alias: str = "default") -> list[str]:
        return sorted({str(name) for (name,) in server.run("SELECT name FROM author", alias=alias)})

    def script(self, server: Server, text: str) -> str:
        (server.site.root / "scrub.sql").write_text(text)
        return "scrub.sql"

    def require_unchanged(self, server: Server) -> None:
        (server.site.root / "scrub.sql").unlink(missing_ok=True)
        assert (self.names(server), server.leftovers()) == (["old"], [])

    @pytest.fixture(autouse=True)
    def _changed(self, server: Server) -> None:
        """``default`` has changed since its backup."""
        create_backup()
        server.run("UPDATE author SET name = 'old'")

    @pytest.mark.parametrize("name", ["scrub", "scrub_with_models", "leave_a_transaction_open"])
    def test_a_callable_changes_what_is_restored(self, server: Server, name: str) -> None:
        report = restore_backup(sanitize=f"{HERE}.{name}")
        assert report.sanitized_by == f"{HERE}.{name}"
        assert self.names(server) == ["somebody"]
        assert server.count("book") == BOOKS

    def test_a_script_changes_what_is_restored(self, server: Server) -> None:
        text = "-- authors; and 100% of them\nUPDATE author SET name = 'a;b' WHERE id = 1;\n" \
            "UPDATE author SET name = 'somebody' WHERE id > 1;\n"  # fmt: skip
        restore_backup(sanitize=self.script(server, text))
        assert self.names(server) == ["a;b", "somebody"]

    def test_a_script_that_does_not_commit_is_committed(self, server: Server) -> None:
        restore_backup(sanitize=self.script(server, "BEGIN;\nUPDATE author SET name = 'somebody';\n"))
        assert self.names(server) == ["somebody"]

    def test_a_restore_into_another_database(self, server: Server) -> None:
        server.site.configure(sanitizers={"empty": f"{HERE}.scrub"})
        restore_backup(to="empty")
        assert self.names(server, alias="empty") == ["somebody"]
        assert self.names(server) == ["old"]

    def test_the_rows_are_compared_before(self, server: Server) -> None:
        restore_backup(sanitize=f"{HERE}.lose_books")
        assert (server.count("book"), server.count("author")) == (0, AUTHORS)

    def test_verification_queries_are_asked_afterwards(self, server: Server) -> None:
        server.site.configure(
            databases=[
                {
                    "alias": "default",
                    "verification_queries": ["SELECT count(*) = 0 FROM author WHERE name LIKE 'Author%'"],
                }
            ]
        )
        restore_backup(sanitize=f"{HERE}.scrub")
        assert self.names(server) == ["somebody"]

    def test_a_callable_that_fails_leaves_the_database(self, server: Server, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        with pytest.raises(RestoreFailed) as failure:
            restore_backup(sanitize=f"{HERE}.fail_with_a_row")
        assert f"The sanitizer {HERE}.fail_with_a_row failed: ValueError (line " in str(failure.value)
        assert "'default' is as it was" in str(failure.value)
        assert "Book 7" not in f"{printed(failure.value)}{caplog.text}"
        self.require_unchanged(server)

    @pytest.mark.parametrize("name", ["forget_using", "forget_using_and_go_on"])
    def test_the_live_database_cannot_be_changed(self, server: Server, name: str) -> None:
        """A query of models without ``using`` is one of the live database, and its data would be lost."""
        with pytest.raises(RestoreFailed, match=r"the database 'default' a statement that may change it.*n\.alias"):
            restore_backup(to="empty", sanitize=f"{HERE}.{name}")
        self.require_unchanged(server)

    def test_a_script_that_fails_leaves_the_database(self, server: Server) -> None:
        text = "UPDATE author SET name = 'somebody';\nUPDATE author SET nmae = 'somebody';\n"
        with pytest.raises(RestoreFailed, match=r"The sanitizer scrub.sql failed: \w+Error: .*nmae"):
            restore_backup(sanitize=self.script(server, text))
        self.require_unchanged(server)

    def test_words_that_a_trigger_chooses_are_not_repeated(self, server: Server) -> None:
        server.run("UPDATE book SET title = 'secret title'")
        create_backup()
        with pytest.raises(RestoreFailed, match=r"The sanitizer scrub\.sql failed") as failure:
            restore_backup(sanitize=self.script(server, self.raising))
        assert "secret title" not in printed(failure.value)
        self.require_unchanged(server)


class TestSQLite(SanitizeContract):
    raising = """
        CREATE TRIGGER guard BEFORE DELETE ON book BEGIN SELECT RAISE(ABORT, 'secret title'); END;
        DELETE FROM book;
        """

    @pytest.fixture
    def server(self, site: Site) -> Server:
        return SQLiteServer(site, "wal")

    def test_the_file_holds_nothing_of_the_rows_before(self, server: SQLiteServer) -> None:
        """Not in its free space either."""
        restore_backup(to="empty", sanitize=f"{HERE}.scrub")
        content = server.path("empty").read_bytes()
        assert b"Author 7" not in content
        assert b"somebody" in content


class TestPostgreSQL(SanitizeContract):
    raising = """
        DO $$ DECLARE t text; BEGIN SELECT title INTO t FROM book LIMIT 1; RAISE EXCEPTION 'bad %', t; END $$;
        """

    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer) -> Server:
        return postgresql_server


class TestMariaDB(SanitizeContract):
    raising = """
        CREATE TRIGGER guard BEFORE DELETE ON book FOR EACH ROW
            SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'secret title';
        DELETE FROM book;
        """

    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> Server:
        return mysql_server

    def test_in_place_is_refused(self, server: Server) -> None:
        with pytest.raises(RestoreRefused, match=r"Leave out --in-place.*--unsanitized"):
            restore_backup(sanitize=f"{HERE}.scrub", in_place=True)
        self.require_unchanged(server)
