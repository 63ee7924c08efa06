"""What a restore keeps on every engine: nothing takes the place of the old data before it has been accepted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from django.db.utils import load_backend

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.errors import BackupError, RestoreFailed, VerificationFailed
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.kept_data import find_abandoned_staging
from django_cfg.backup.services.restore.restore import RestoreRequest, plan_restore
from tests.support.databases import BOOKS, Server
from tests.support.restore_receiver import received
from tests.support.tiers import OfEveryEngine

COMPLETE = {"TIME_ZONE": None, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True, "OPTIONS": {}}


class RestoreContract(OfEveryEngine):
    """Inherit, and define the fixture ``server``. The options of the restore: ``options``."""

    options: Mapping[str, Any] = {}
    uses_staging = True
    leaves_old_data = True  # else the backup that is made first has to come back

    @pytest.fixture
    def server(self) -> Server:
        raise NotImplementedError

    def restore(self, **more: Any) -> Any:
        return restore_backup(**{**self.options, **more})

    def require_old(self, server: Server, failure: BaseException) -> None:
        """The restore that ended with *failure* left the ten books that it had; or the way it names brings them."""
        found = re.search(r"manage\.py backup_restore (\S+) --to default$", str(failure))
        assert (found is None) == self.leaves_old_data
        if found:
            assert "neither as it was nor restored" in str(failure)
            server.site.configure()
            self.restore(name=found[1], to="default")
        assert server.count("book") == 10

    def ask(self, server: Server, *queries: str) -> None:
        """Let restored data be asked *queries*."""
        server.site.configure(databases=[{"alias": "default", "verification_queries": list(queries)}])

    def test_true_answers_let_it_pass(self, server: Server) -> None:
        """Any truthy value, in a query of any shape; a comment and a semicolon are no obstacle."""
        create_backup()
        server.run("DELETE FROM book")
        self.ask(
            server,
            f"SELECT count(*) = {BOOKS} FROM book",
            "SELECT max(id), NULL FROM author;",
            "SELECT name FROM author ORDER BY id LIMIT 1 -- the first",
            "SELECT '100%'",
        )
        self.restore()
        assert server.count("book") == BOOKS

    @pytest.mark.parametrize(
        "query",
        [
            "SELECT count(*) > 1000 FROM book",
            "SELECT NULL",
            "SELECT 0",
            "SELECT ''",
            "SELECT id FROM book WHERE id < 0",
        ],
    )
    def test_an_answer_that_is_not_true_stops_it(self, server: Server, query: str) -> None:
        create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        self.ask(server, "SELECT 1", query)
        with pytest.raises(BackupError, match=r"verification query .* which is not true") as failure:
            self.restore()
        assert isinstance(failure.value, VerificationFailed if self.leaves_old_data else RestoreFailed)
        self.require_old(server, failure.value)

    def test_a_query_that_fails_stops_it(self, server: Server) -> None:
        create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        self.ask(server, "SELECT nonsense FROM nowhere")
        message = r"(?s)verification query 'SELECT nonsense FROM nowhere' fails"
        with pytest.raises(BackupError, match=message) as failure:
            self.restore()
        self.require_old(server, failure.value)

    @pytest.mark.parametrize("query", ["DELETE FROM book", "SELECT 1; COMMIT; DELETE FROM book"])
    def test_a_query_changes_nothing(self, server: Server, query: str) -> None:
        """Neither the restored data nor, by ending our transaction, the old."""
        create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        self.ask(server, query)
        with pytest.raises(BackupError) as failure:
            self.restore()
        assert isinstance(failure.value if self.leaves_old_data else failure.value.__cause__, VerificationFailed)
        self.require_old(server, failure.value)
        assert list(find_abandoned_staging(current_project())) == []

    def test_a_receiver_sees_the_restored_data_before_anybody_else(self, server: Server) -> None:
        create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        seen: list[int] = []

        def look(scratch: Mapping[str, Any] | None, database: str, **facts: Any) -> None:
            assert (scratch is not None) == self.uses_staging
            assert database == "default"
            if scratch is not None:
                seen.append(count(scratch, "book"))

        with received(look):
            self.restore()
        assert seen == ([BOOKS] if self.uses_staging else [])

    def test_a_receiver_that_objects_stops_it(self, server: Server) -> None:
        manifest = create_backup()
        server.run("DELETE FROM book WHERE id > 10")

        def object_to_it(**facts: Any) -> None:
            raise ValueError("there is no Saturday in it")

        with received(object_to_it), pytest.raises(RestoreFailed, match=r"no Saturday in it.*as it was") as failure:
            self.restore()
        self.require_old(server, failure.value)
        self.restore(name=manifest.name)
        assert server.count("book") == BOOKS

    def test_what_can_be_known_is_reported_before(self, server: Server) -> None:
        create_backup()
        options = RestoreOptions(**self.options)
        outlook = plan_restore(RestoreRequest(options=options)).preflight
        assert outlook.uses_staging == self.uses_staging
        assert len(outlook.findings) >= 2


def count(scratch: Mapping[str, Any], table: str) -> int:
    """Rows of *table* in the scratch, as a receiver with Django's own means would count them."""
    connection = load_backend(scratch["ENGINE"]).DatabaseWrapper({**COMPLETE, **scratch}, "scratch")
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")
            number: int = cursor.fetchone()[0]
    finally:
        connection.close()
    return number


class InPlace:
    """The contract of PostgreSQL's restore in place."""

    is_variant = True
    options: Mapping[str, Any] = {"in_place": True, "discard_old": True}
    uses_staging = False


class OfTables:
    """The contract of PostgreSQL's restore of some tables."""

    is_variant = True
    options: Mapping[str, Any] = {"tables": ("book",), "discard_old": True}
    uses_staging = False
