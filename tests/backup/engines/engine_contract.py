"""What every engine keeps. The next one joins by naming its ``server`` fixture: see test_sqlite.py."""

from __future__ import annotations

import threading

import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.errors import (
    BackupError,
    DatabaseUnavailable,
    RestoreRefused,
    UsageError,
    VerificationFailed,
)
from tests.support.databases import AUTHORS, BOOKS, Server, rows
from tests.support.django_project import Site
from tests.support.tiers import OfEveryEngine


class EngineContract(OfEveryEngine):
    """Inherit, and define the fixture ``server``."""

    @pytest.fixture
    def server(self, site: Site) -> Server:
        raise NotImplementedError

    def test_every_row_comes_back(self, server: Server) -> None:
        create_backup()
        server.run("DELETE FROM book", "UPDATE author SET name = 'changed'")
        restore_backup()
        assert server.count("book") == BOOKS
        assert server.run("SELECT name FROM author WHERE id = 7") == [("Author 7",)]

    def test_the_state_is_exactly_that_of_the_backup(self, server: Server) -> None:
        before = server.table_names()
        create_backup()
        server.run("CREATE TABLE later (id integer)", "INSERT INTO later VALUES (1)", "DROP TABLE book")
        restore_backup()
        assert server.table_names() == before

    def test_the_manifest_counts_every_row_of_every_table(self, server: Server) -> None:
        manifest = create_backup()
        assert [table.name for table in manifest.tables] == server.table_names()
        assert (rows(manifest)["author"], rows(manifest)["book"]) == (AUTHORS, BOOKS)
        assert all(table.exact for table in manifest.tables)

    def test_a_backup_taken_while_others_write_is_one_state_they_have_seen(self, server: Server) -> None:
        server.run(
            "CREATE TABLE tally (id integer PRIMARY KEY, author_rows integer)",
            "INSERT INTO tally VALUES (1, 50)",
        )
        stop = threading.Event()
        writer = threading.Thread(target=_add_authors, args=(server, stop))
        writer.start()
        try:
            manifests = [create_backup() for _ in range(5)]
        finally:
            stop.set()
            writer.join()
        assert rows(manifests[-1])["author"] > AUTHORS, "the writer did not get to write"
        for manifest in manifests:
            restore_backup(manifest.name)
            counted = server.run("SELECT author_rows FROM tally")[0][0]
            assert counted == server.count("author") == rows(manifest)["author"]

    def test_excluded_rows_stay_out_and_the_definition_stays(self, server: Server) -> None:
        server.site.configure(databases=[{"alias": "default", "exclude_tables": ["boo?"]}])
        manifest = create_backup()
        assert [name.rpartition(".")[2] for name in manifest.excluded] == ["book"]
        restore_backup()
        assert (server.count("book"), server.count("author")) == (0, AUTHORS)

    def test_rows_that_others_refer_to_cannot_be_excluded(self, server: Server) -> None:
        server.site.configure(databases=[{"alias": "default", "exclude_tables": ["author"]}])
        with pytest.raises(UsageError, match=r"book.*author|author.*book"):
            create_backup()
        server.run("UPDATE book SET author_id = NULL")
        assert rows(create_backup())["author"] == 0

    def test_included_tables_alone_make_a_partial_backup(self, server: Server) -> None:
        server.site.configure(databases=[{"alias": "default", "include_tables": ["author"]}])
        manifest = create_backup()
        assert manifest.partial
        assert rows(manifest) == {"author": AUTHORS}
        with pytest.raises(RestoreRefused, match="only some tables"):
            restore_backup()
        assert server.count("book") == BOOKS
        restore_backup(to="empty")
        assert server.count("author", alias="empty") == AUTHORS

    def test_a_table_that_others_refer_to_cannot_be_left_out_next_to_them(self, server: Server) -> None:
        """Restored, their rows would refer to a table that does not exist."""
        server.site.configure(databases=[{"alias": "default", "include_tables": ["book"]}])
        with pytest.raises(UsageError, match=r"include_tables.*book.*author"):
            create_backup()
        server.site.configure(databases=[{"alias": "default", "include_tables": ["book", "author"]}])
        assert rows(create_backup()) == {"author": AUTHORS, "book": BOOKS}

    @pytest.mark.parametrize("parameter", ["exclude_tables", "include_tables"])
    def test_a_pattern_that_matches_nothing_is_refused(self, server: Server, parameter: str) -> None:
        server.site.configure(databases=[{"alias": "default", parameter: ["bok"]}])
        with pytest.raises(UsageError, match=rf"{parameter}.*'bok'"):
            create_backup()

    def test_an_empty_database_is_no_backup(self, server: Server) -> None:
        with pytest.raises(DatabaseUnavailable, match="'empty'"):
            create_backup("empty")
        assert not server.site.backups.exists()

    def test_odd_names_survive(self, server: Server) -> None:
        q = server.quote
        odd = f"{q}{server.odd}{q}"
        server.run(f"CREATE TABLE {odd} ({q}Sélect{q} integer)", f"INSERT INTO {odd} VALUES (1)")
        create_backup()
        server.run(f"DROP TABLE {odd}")
        restore_backup()
        assert server.count(odd) == 1

    def test_a_manifest_that_lies_about_rows_is_caught_before_the_target_is_touched(self, server: Server) -> None:
        manifest = create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        path = server.site.backups / manifest.key
        text = path.read_text().replace(f'"rows": {BOOKS}', f'"rows": {BOOKS + 1}')
        assert text != path.read_text()
        path.write_text(text)
        with pytest.raises(VerificationFailed, match=r"book has 200 rows instead of 201"):
            restore_backup()
        assert server.count("book") == 10

    def test_a_damaged_archive_leaves_the_target_untouched(self, server: Server) -> None:
        manifest = create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        path = server.site.backups / manifest.archive_key
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        for act in (verify_backup, restore_backup):
            with pytest.raises(BackupError):
                act()
        assert server.count("book") == 10

    def test_a_good_backup_verifies(self, server: Server) -> None:
        assert verify_backup(create_backup().name)

    def test_applied_migrations_are_listed(self, server: Server) -> None:
        server.run(
            "CREATE TABLE IF NOT EXISTS django_migrations "
            "(id integer PRIMARY KEY, app varchar(255), name varchar(255), applied timestamp)",
            "DELETE FROM django_migrations",
            "INSERT INTO django_migrations (id, app, name, applied) VALUES (1, 'shop', '0001_initial', '2025-01-01'), "
            "(2, 'shop', '0002_more', '2025-01-01'), (3, 'blog', '0001_initial', '2025-01-01')",
        )
        assert create_backup().migrations == {"shop": ("0001_initial", "0002_more"), "blog": ("0001_initial",)}

    def test_two_aliases_of_one_database_are_backed_up_once(self, server: Server) -> None:
        from django.conf import settings

        twice = {**settings.DATABASES, "again": dict(settings.DATABASES["default"])}
        del twice["empty"]
        server.site.use_databases(**twice)
        answer = server.site.call("backup_create", "--json")
        assert [manifest["source"]["database"] for manifest in answer.json] == ["default"]


def _add_authors(server: Server, stop: threading.Event) -> None:
    number = AUTHORS
    while not stop.is_set():
        number += 1
        server.run(f"INSERT INTO author VALUES ({number}, 'late')", f"UPDATE tally SET author_rows = {number}")
