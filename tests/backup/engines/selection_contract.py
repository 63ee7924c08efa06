"""Which tables a dump holds, on every engine; and which options may be added to those of a dump program."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup, verify_backup
from django_cfg.backup.engines.extra_options import OptionRules, check_extra_options, is_allowed
from django_cfg.backup.errors import DumpFailed, UsageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.process.redaction import without_value
from tests.support.databases import AUTHORS, BOOKS, DatabaseServer, Server, rows
from tests.support.django_project import Site


def made(server: Server, **parameters: Any) -> Manifest:
    """A backup of ``default``, *parameters* being those of its BackupDatabaseConfig."""
    server.site.configure(databases=[{"alias": "default", **parameters}])
    return create_backup()


class SelectionContract:
    """Inherit, and define the fixture ``server`` and what is without a value here."""

    constraint: str  # how a message names the foreign key of book
    replaces_target = False  # even if it holds no tables: it is kept as old data
    odd = "audit_Ö'dd $1.*"
    trigger: Sequence[str]  # statements: of audit_log, which makes each new number greater by one
    trigger_needs: Sequence[str] = ()  # statements: what it needs besides its table

    @pytest.fixture
    def server(self, site: Site) -> Server:
        raise NotImplementedError

    def add_tables(self, server: Server) -> str:
        """Two tables whose names begin alike, a trigger and a view. Returns the odd name, quoted."""
        odd = f"{server.quote}{self.odd}{server.quote}"
        server.run("CREATE TABLE audit_log (i integer)", f"CREATE TABLE {odd} (i integer)",
                   "INSERT INTO audit_log VALUES (1)", f"INSERT INTO {odd} VALUES (1), (2)",
                   *self.trigger_needs, *self.trigger, "CREATE VIEW audits AS SELECT i FROM audit_log")  # fmt: skip
        return odd

    def test_excluded_tables_keep_their_definition(self, server: Server) -> None:
        """Their triggers too, and the views upon them."""
        odd = self.add_tables(server)
        names = server.table_names()
        manifest = made(server, exclude_tables=["audit_*"])
        assert sorted(name.removeprefix("public.") for name in manifest.excluded) == ["audit_log", self.odd]
        assert rows(manifest)["audit_log"] == 0
        assert verify_backup() == manifest
        restore_backup()
        assert server.table_names() == names
        assert (server.count("audit_log"), server.count(odd), server.count("book")) == (0, 0, BOOKS)
        server.run("INSERT INTO audit_log VALUES (1)")
        assert server.run("SELECT i FROM audits") == [(2,)]

    def test_included_and_excluded(self, server: Server) -> None:
        """Of the included tables the excluded ones keep their definition alone."""
        odd = self.add_tables(server)
        manifest = made(server, include_tables=["audit*", "author"], exclude_tables=["audit_log"])
        assert manifest.rows == 2 + AUTHORS
        server.run(*self.trigger_needs, alias="empty")
        restore_backup(to="empty")
        assert [server.count(name, "empty") for name in ("author", odd, "audit_log")] == [AUTHORS, 2, 0]

    def test_all_that_is_included_is_excluded(self, server: Server) -> None:
        """Its definition is all that the backup holds."""
        self.add_tables(server)
        assert rows(made(server, include_tables=["audit_log"], exclude_tables=["audit_*g"])) == {"audit_log": 0}
        server.run(*self.trigger_needs, alias="empty")
        restore_backup(to="empty")
        assert len(server.table_names("empty")) == 1

    def test_a_refused_exclusion_names_the_constraint(self, server: Server) -> None:
        """The rows that stay would refer to rows that are left out."""
        expected = rf"rows of \S*author, but rows of \S*book.*{self.constraint}.*Exclude \S*book too"
        with pytest.raises(UsageError, match=expected):
            made(server, exclude_tables=["author"])
        assert server.stored() == []

    def test_an_included_table_needs_those_it_refers_to(self, server: Server) -> None:
        """A foreign key into a table that is left out would refer to nothing: refused, the constraint named."""
        expected = rf"names \S*book and not \S*author.*{self.constraint}.*Include \S*author too"
        with pytest.raises(UsageError, match=expected):
            made(server, include_tables=["book"])
        assert server.stored() == []
        assert made(server, include_tables=["book", "author"]).rows == AUTHORS + BOOKS

    def test_included_tables_come_into_an_empty_database(self, server: Server) -> None:
        """With their triggers; neither their views nor other tables. A view of the target stays."""
        self.add_tables(server)
        manifest = made(server, include_tables=["audit_log"])
        assert manifest.partial
        server.run(*self.trigger_needs, "CREATE VIEW stays AS SELECT 1", alias="empty")
        assert bool(restore_backup(to="empty").old_data) == self.replaces_target
        server.run("INSERT INTO audit_log VALUES (5)", alias="empty")
        assert server.run("SELECT max(i) FROM audit_log", alias="empty") == [(6,)]
        assert len(server.table_names("empty")) == 1
        if not self.replaces_target:
            assert server.count("stays", "empty") == 1


class ExtraOptionsContract:
    """``extra_options`` of a dump program. Inherit, and define the fixture ``server`` and what has no value here."""

    rules: OptionRules
    given: Sequence[str]  # allowed, and of some effect on what is written
    refused: Sequence[str]  # what chooses output, connection, format, tables or data, in every spelling
    judged: Collection[str]  # the options of the program that may be given: none of them chooses how much is dumped

    @pytest.fixture
    def server(self, site: Site) -> DatabaseServer:
        raise NotImplementedError

    def print_help(self) -> str:
        """What the program's ``--help`` prints."""
        raise NotImplementedError

    def test_allowed_options_reach_the_program(self, server: DatabaseServer) -> None:
        """What it then writes is counted and restored as well."""
        manifest = made(server, extra_options=self.given)
        assert rows(manifest) == {"author": AUTHORS, "book": BOOKS}
        assert all(table.exact for table in manifest.tables)
        assert verify_backup() == manifest
        server.run("DELETE FROM book")
        restore_backup()
        assert server.count("book") == BOOKS

    def test_the_program_itself_refuses_what_it_does_not_know(self, server: DatabaseServer) -> None:
        """An option that only the program can judge fails there, in its words."""
        with pytest.raises(DumpFailed, match=r"(?s)'default'.*no-such-option"):
            made(server, extra_options=["--no-such-option"])
        assert server.stored() == []

    def test_refused_options_are_named(self) -> None:
        """A value may be a password, and is not printed."""
        for option in self.refused:
            with pytest.raises(UsageError, match="extra_options of the database 'default'") as refusal:
                check_extra_options([option], "default", self.rules)
            assert repr(without_value(option)) in str(refusal.value)

    def test_every_option_of_the_program_has_been_judged(self) -> None:
        """One that a new version brings may leave data out: it is not allowed unseen."""
        options = set(re.findall(r"--[a-z][a-z0-9-]+", self.print_help()))
        assert len(options) > 50
        assert {option for option in options if is_allowed(option, self.rules)} - set(self.judged) == set()
