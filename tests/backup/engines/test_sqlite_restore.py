"""The SQLite engine keeps the contracts of a restore and of the selection of tables, in both journal modes."""

from __future__ import annotations

import pytest

from tests.backup.engines.restore_contract import RestoreContract
from tests.backup.engines.selection_contract import SelectionContract
from tests.support.django_project import Site
from tests.support.sqlite_databases import SQLiteServer


class TestRestore(RestoreContract):
    @pytest.fixture(params=["delete", "wal"])
    def server(self, site: Site, request: pytest.FixtureRequest) -> SQLiteServer:
        return SQLiteServer(site, request.param)


class TestRestoreOfTables(TestRestore):
    options = {"tables": ("book",)}


class TestSelection(SelectionContract):
    replaces_target = True
    constraint = r"book\.author_id"
    trigger = (
        "CREATE TRIGGER on_audit AFTER INSERT ON audit_log "
        "BEGIN UPDATE audit_log SET i = i + 1 WHERE rowid = NEW.rowid; END",
    )

    @pytest.fixture(params=["delete", "wal"])
    def server(self, site: Site, request: pytest.FixtureRequest) -> SQLiteServer:
        return SQLiteServer(site, request.param)
