"""What a restore of some tables (``--tables``) into a database as it is keeps on every engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest

from django_cfg.backup import create_backup, list_backups, restore_backup
from django_cfg.backup.engines.base import RestoreOptions, SwitchResult
from django_cfg.backup.errors import BackupError, RestoreFailed, RestoreRefused, TablesDiffer, UsageError
from django_cfg.backup.services.restore.restore import RestoreRequest, plan_restore
from tests.support.databases import AUTHORS, BOOKS, DatabaseServer, Server, fail_unless_equal
from tests.support.django_project import Site
from tests.support.restore_receiver import received

AnotherMachine = Callable[[], AbstractContextManager[None]]


def restore(*tables: str, **options: Any) -> SwitchResult:
    return restore_backup(tables=tables, discard_old=True, **options)


def preview(*tables: str) -> str:
    """What a restore of *tables* says before it begins."""
    preflight = plan_restore(RestoreRequest(options=RestoreOptions(tables=tables, discard_old=True))).preflight
    return "\n".join(finding.text for finding in preflight.findings)


def fail_to_restore(server: Server, kind: type[BackupError], message: str, *tables: str, **options: Any) -> None:
    """It fails with *message*, the database is as it was, and nothing is left next to it."""
    before = server.text()
    with pytest.raises(kind, match=f"(?s){message}") as failure:
        restore(*tables, **options)
    assert type(failure.value) is kind
    fail_unless_equal(before, server.text())
    assert server.leftovers() == []


class TablesContract:
    """Inherit, and define the fixture ``server``, ``held`` and what is without a value here."""

    key: str  # how the preview names the foreign key of book
    broken_key: str  # how an error does that names rows without the row that they refer to
    lock_message: str
    orphan: Sequence[str] = ()  # statements: a book without its author, where a backup can hold one
    differs: type[BackupError] = TablesDiffer
    equal_to_x = "x"
    numbered: str  # the type of a primary key whose numbers the database gives
    next_number = 4  # of three rows in the backup, where a fourth was added later
    wider: Sequence[tuple[str, str, str]]  # the type of a column in the backup, a value in SQL, the type it has now
    narrower: Sequence[tuple[str, str, str, str]]  # likewise, and what the error says

    @pytest.fixture
    def server(self, site: Site) -> Server:
        raise NotImplementedError

    @pytest.fixture
    def impatient(self, server: Server) -> None:
        """Let a restore wait for a lock for a second."""
        server.site.configure(lock_timeout=1)

    def held(self, server: Server) -> AbstractContextManager[Any]:
        """A block during which another session's transaction writes to book."""
        raise NotImplementedError

    def fail_for_broken_key(self, server: Server, count: int, child: str, parent: str, *tables: str) -> None:
        message = self.broken_key.format(count=count, child=child, parent=parent)
        fail_to_restore(server, RestoreFailed, f"(?=.*as it was).*{message}", *tables)

    def test_the_tables_are_as_in_the_backup_and_the_others_as_they_were(self, server: Server) -> None:
        before = server.text()
        create_backup()
        server.run("DELETE FROM book", "INSERT INTO author VALUES (999, 'since')", "CREATE TABLE later (i int)")
        switched = restore("book")
        assert (switched.old_data, switched.advice) == (None, "")
        assert (server.count("book"), server.count("author")) == (BOOKS, AUTHORS + 1)
        assert server.leftovers() == []
        server.run("DELETE FROM author WHERE id = 999", "DROP TABLE later")
        fail_unless_equal(before, server.text())

    def test_the_command_says_what_it_does(self, server: Server) -> None:
        name = create_backup().name
        server.run("DELETE FROM book")
        answer = server.site.call("backup_restore", name, "--yes", "--tables", "bo*", "--discard-old")
        assert answer.code == 0, answer.stderr
        assert re.search(r"only (public\.)?book, replaced in one transaction", answer.stderr)
        assert f"bo* of default are now as in {name}." in answer.stdout
        assert server.count("book") == BOOKS

    def test_patterns_and_odd_names(self, server: Server) -> None:
        q = server.quote
        odd = f"{q}{server.odd}{q}"
        server.run(f"CREATE TABLE {odd} ({q}Sél;ect %s{q} int, {q}b{q}{q}c{q} int)", f"INSERT INTO {odd} VALUES (1, 2)",
                   f"CREATE TABLE {q}a b{q} (i int)", f"INSERT INTO {q}a b{q} VALUES (1)")  # fmt: skip
        create_backup()
        server.run(f"DELETE FROM {odd}", f"DELETE FROM {q}a b{q}", "DELETE FROM book")
        restore("Ödd*", "a ?")
        assert server.run(f"SELECT * FROM {odd}") == [(1, 2)]
        assert (server.count(f"{q}a b{q}"), server.count("book")) == (1, 0)

    def test_generated_columns_and_numbers(self, server: Server) -> None:
        """Numbers go on where the backup left them, or where the table is, if that is later and the engine keeps it."""
        server.run(
            f"CREATE TABLE price (id {self.numbered}, net int, gross int GENERATED ALWAYS AS (net * 2) STORED)",
            "INSERT INTO price (net) VALUES (1), (2), (3)",
            "DELETE FROM price WHERE net = 3",
        )
        create_backup()
        server.run("INSERT INTO price (net) VALUES (9)", "DELETE FROM price WHERE net = 1")
        restore("price")
        assert server.run("SELECT id, gross FROM price ORDER BY id") == [(1, 2), (2, 4)]
        server.run("INSERT INTO price (net) VALUES (5)")
        assert server.run("SELECT max(id) FROM price") == [(self.next_number,)]

    def test_a_partial_backup_gives_its_tables(self, server: Server) -> None:
        server.site.configure(databases=[{"alias": "default", "include_tables": ["author"]}])
        create_backup()
        server.run("UPDATE author SET name = 'changed'")
        restore("author")
        assert server.run("SELECT name FROM author WHERE id = 7") == [("Author 7",)]
        assert server.count("book") == BOOKS

    def test_another_database_takes_them(self, server: Server) -> None:
        """A column that is new there has its default."""
        create_backup()
        server.run("CREATE TABLE author (id integer PRIMARY KEY, name varchar(100), more int DEFAULT 5)", alias="empty")
        restore("author", to="empty")
        assert server.run("SELECT count(*), min(more) FROM author", alias="empty") == [(AUTHORS, 5)]

    # --- foreign keys

    def test_foreign_keys_in_the_way_are_named_first(self, server: Server) -> None:
        create_backup()
        assert re.search(r"only (public\.)?author, replaced", preview("author"))
        assert self.key in preview("author")
        assert "foreign keys" not in preview("author", "book")

    def test_a_row_that_would_miss_its_partner_undoes_everything(self, server: Server) -> None:
        """One that missed it before does not."""
        server.run(*self.orphan)
        books = server.count("book")
        create_backup()
        server.run("INSERT INTO author VALUES (999, 'since')", "INSERT INTO book VALUES (999, 'since', 999)")
        self.fail_for_broken_key(server, 1, "book", "author", "author")
        restore("author", "book")
        assert (server.count("author"), server.count("book")) == (AUTHORS, books)

    def test_a_partner_that_is_gone_undoes_everything(self, server: Server) -> None:
        create_backup()
        server.run("DELETE FROM book", "DELETE FROM author WHERE id = 50")
        self.fail_for_broken_key(server, 4, "book", "author", "book")

    def test_keys_do_not_cascade(self, server: Server) -> None:
        """Neither to the rows of other tables nor within one."""
        server.run(
            "CREATE TABLE shelf (id int PRIMARY KEY)",
            "CREATE TABLE placed (id int PRIMARY KEY, shelf int REFERENCES shelf (id) ON DELETE CASCADE)",
            "CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree (id) ON DELETE CASCADE)",
            "INSERT INTO shelf VALUES (1), (2)", "INSERT INTO placed VALUES (1, 1), (2, 2)",
            "INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2)", "UPDATE tree SET up = 2 WHERE id = 1",
        )  # fmt: skip
        before = server.text()
        create_backup()
        server.run("INSERT INTO tree VALUES (4, 3)", "INSERT INTO shelf VALUES (3)")
        restore("shelf")
        restore("tree")
        fail_unless_equal(before, server.text())

    def test_keys_of_several_columns(self, server: Server) -> None:
        """A row with a NULL in any of them refers to nothing."""
        q = server.quote
        server.run("CREATE TABLE shelf (a int, b varchar(9), PRIMARY KEY (b, a))",
                   "INSERT INTO shelf VALUES (1, 'x'), (2, 'x')",
                   f"CREATE TABLE placed (id int PRIMARY KEY, a int, b varchar(9), CONSTRAINT {q}on shelf{q} "
                   "FOREIGN KEY (b, a) REFERENCES shelf (b, a))",
                   f"INSERT INTO placed VALUES (1, 1, '{self.equal_to_x}'), (2, 7, NULL), (3, NULL, 'y')")  # fmt: skip
        create_backup()
        restore("shelf")
        server.run("INSERT INTO shelf VALUES (2, 'y')", "INSERT INTO placed VALUES (4, 2, 'y')")
        assert re.search("placed.* to shelf", preview("shelf"))
        self.fail_for_broken_key(server, 1, "placed", "shelf", "shelf")
        restore("shelf", "placed")
        assert server.count("placed") == 3

    # --- what is refused, and what undoes everything

    def test_what_cannot_be_done_is_refused_before(self, server: Server) -> None:
        server.site.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
        create_backup()
        fail_to_restore(server, UsageError, "--tables of the database 'default' names 'bok'", "bok")
        fail_to_restore(server, RestoreRefused, r"(?=.*left out the(ir)? rows).*book.*--to", "book")
        server.run("DROP TABLE book", "DROP TABLE author", "CREATE VIEW author AS SELECT 1 AS id",
                   "CREATE TABLE other (i int)")  # fmt: skip
        fail_to_restore(server, RestoreRefused, r"(?=.*has no (ordinary )?table).*author.*--to", "author")

    def test_a_column_that_is_gone_undoes_everything(self, server: Server) -> None:
        """A new one has its default."""
        create_backup()
        server.run("ALTER TABLE book DROP COLUMN title", "ALTER TABLE author ADD COLUMN more int DEFAULT 5")
        fail_to_restore(server, RestoreFailed, 'columns? "?title.*(does not|no longer)', "author", "book")
        restore("author")
        assert server.run("SELECT count(*), min(more) FROM author") == [(AUTHORS, 5)]

    def change_type(self, server: Server, old: str, value: str, new: str) -> None:
        """A backup has *value* in a column of the type *old*; now the column has the type *new*, and no row."""
        server.run("DROP TABLE IF EXISTS changed", f"CREATE TABLE changed (x {old})")
        server.run(f"INSERT INTO changed VALUES ({value})")
        create_backup()
        server.run("DROP TABLE changed", f"CREATE TABLE changed (x {new})")

    def test_values_that_do_not_fit_any_more_undo_everything(self, server: Server) -> None:
        """Nothing is cut, rounded or turned into something else."""
        for old, value, new, message in self.narrower:
            self.change_type(server, old, value, new)
            fail_to_restore(server, RestoreFailed, message, "book", "changed")

    def test_columns_that_became_wider(self, server: Server) -> None:
        for old, value, new in self.wider:
            self.change_type(server, old, value, new)
            server.run(f"INSERT INTO changed VALUES ({value})")
            before = server.text()
            server.run("DELETE FROM changed")
            restore("changed")
            fail_unless_equal(before, server.text())

    def test_a_wrong_count_undoes_everything(self, server: Server) -> None:
        manifest = create_backup()
        path = server.site.backups / manifest.key
        path.write_text(path.read_text().replace(f'"rows": {BOOKS}', f'"rows": {BOOKS + 1}'))
        server.run("DELETE FROM book")
        fail_to_restore(server, self.differs, "book has 200 rows instead of 201", "book")

    # --- other sessions

    @pytest.mark.usefixtures("impatient")
    def test_a_transaction_in_the_way_undoes_everything(self, server: Server) -> None:
        create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        with self.held(server):
            fail_to_restore(server, RestoreFailed, self.lock_message, "book")
        restore("book")
        assert server.count("book") == BOOKS


class ServerTablesContract(TablesContract):
    """Where the engine has a server. Inherit likewise."""

    another_restore: str  # what a second one says

    @pytest.fixture
    def server(self, site: Site) -> DatabaseServer:
        raise NotImplementedError

    def test_the_old_rows_are_backed_up_first(self, server: DatabaseServer) -> None:
        create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        assert restore_backup(tables=["book"]).old_data is None
        assert server.count("book") == BOOKS
        (before,) = [manifest for manifest in list_backups() if manifest.trigger == "before-restore"]
        restore_backup(before.name, tables=["book"], discard_old=True)
        assert server.count("book") == 10

    @pytest.mark.usefixtures("impatient")
    def test_another_restore_is_running(self, server: DatabaseServer, another_machine: AnotherMachine) -> None:
        create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        refused: list[bool] = []

        def begin_another(**facts: object) -> None:
            with (
                another_machine(),
                pytest.raises(BackupError, match=self.another_restore),
            ):
                restore("book")
            refused.append(True)

        with received(begin_another):
            restore("book")
        assert refused == [True]
        assert server.count("book") == BOOKS
        assert server.leftovers() == []
