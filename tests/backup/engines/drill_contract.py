"""What drills keep on every engine. The next one joins by naming its ``server`` fixture: see test_drills.py."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from django.core.management import call_command

from django_cfg.backup import create_backup, drill_backup, restore_backup
from django_cfg.backup.engines.base import Restoration
from django_cfg.backup.errors import BackupError, RestoreUnderWay, VerificationFailed
from django_cfg.backup.manifest import Manifest, Proof
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.schedule.tick import tick
from django_cfg.backup.services.schedule.verification_job import VerificationResult
from tests.support.databases import AUTHORS, BOOKS, Server
from tests.support.killed_process import run_and_kill
from tests.support.tiers import OfEveryEngine

QUERY = f"SELECT count(*) = {BOOKS} FROM book"


def proof_of(manifest: Manifest) -> Proof | None:
    return read_catalog(current_project().storage).proofs.get(manifest.name)


def rewrite(server: Server, manifest: Manifest, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Let the manifest name other tables."""
    document = manifest.model_dump(mode="json", by_alias=True)
    change(document["tables"])
    (server.site.backups / manifest.key).write_bytes(Manifest.model_validate(document).to_json())


def one_row_more(tables: list[dict[str, Any]]) -> None:
    book(tables)["rows"] += 1


def a_table_that_is_missing(tables: list[dict[str, Any]]) -> None:
    tables.append({**book(tables), "name": f"{book(tables)['name']}_lost"})


def a_table_too_many(tables: list[dict[str, Any]]) -> None:
    tables.remove(book(tables))


def no_exact_count(tables: list[dict[str, Any]]) -> None:
    for table in tables:
        table["exact"] = False


def _kinds_of(kind: type[Restoration]) -> list[type[Restoration]]:
    return [found for child in kind.__subclasses__() for found in (child, *_kinds_of(child))]


def book(tables: list[dict[str, Any]]) -> dict[str, Any]:
    return next(table for table in tables if table["name"].rpartition(".")[2] == "book")


class DrillContract(OfEveryEngine):
    """Inherit, and define the fixture ``server``, and ``traces``."""

    @pytest.fixture
    def server(self, site: Any) -> Server:
        raise NotImplementedError

    def traces(self, server: Server) -> list[str]:
        """What restores and drills of ``default`` have left next to it."""
        raise NotImplementedError

    def test_a_good_backup_is_proved(self, server: Server) -> None:
        """Every table is counted, every query asked, and the target is as it was, without a trace next to it."""
        server.site.configure(databases=[{"alias": "default", "verification_queries": [QUERY, "SELECT 1"]}])
        manifest = create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        proof = drill_backup()
        assert proof == proof_of(manifest)
        assert proof.proves(manifest)
        assert (proof.tables, proof.rows, proof.queries) == (len(manifest.tables), manifest.rows, 2)
        assert proof.rows >= AUTHORS + BOOKS
        assert [(table.name, table.expected) for table in proof.evidence] == [(t.name, t.rows) for t in manifest.tables]
        assert all(table.found == table.expected for table in proof.evidence)
        assert proof.server_version.startswith(manifest.engine.server_version)
        assert proof.duration > 0
        assert server.count("book") == 10
        assert self.traces(server) == []

    @pytest.mark.parametrize(
        ("lie", "difference", "expected", "found"),
        [
            (one_row_more, "book has 200 rows instead of 201", 201, 200),
            (a_table_that_is_missing, "book_lost is missing", 200, None),
            (a_table_too_many, "book is not in the manifest", None, 200),
        ],
    )
    def test_a_manifest_that_lies_is_caught(
        self,
        server: Server,
        lie: Callable[[list[dict[str, Any]]], None],
        difference: str,
        expected: int | None,
        found: int | None,
    ) -> None:
        manifest = create_backup()
        drill_backup()
        rewrite(server, manifest, lie)
        with pytest.raises(VerificationFailed, match=difference):
            drill_backup()
        proof = proof_of(manifest)
        assert proof
        assert not proof.succeeded
        assert difference in proof.differences[0]
        assert (expected, found) in [(table.expected, table.found) for table in proof.evidence]
        assert self.traces(server) == []

    def test_the_archive_of_another_backup_is_caught(self, server: Server) -> None:
        """Complete, restorable, of the very same size, and not the one that was stored under this name."""
        server.site.configure(compression="none")
        mine = create_backup()
        server.run("UPDATE book SET title = 'Bock 7' WHERE id = 7")
        other = create_backup()
        assert mine.archive.size == other.archive.size
        shutil.copy(server.site.backups / other.archive_key, server.site.backups / mine.archive_key)
        with pytest.raises(VerificationFailed, match="SHA-256 differs"):
            drill_backup(mine.name)
        assert not read_catalog(current_project().storage).is_proved(mine)
        assert self.traces(server) == []

    def test_a_damaged_archive_is_caught(self, server: Server) -> None:
        manifest = create_backup()
        path = server.site.backups / manifest.archive_key
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(VerificationFailed, match="SHA-256 differs"):
            drill_backup()
        assert self.traces(server) == []

    def test_every_query_that_is_not_true_is_reported(self, server: Server) -> None:
        queries = ["SELECT 1", "SELECT count(*) FROM book WHERE id > 1000", "SELECT 1 FROM nosuch"]
        server.site.configure(databases=[{"alias": "default", "verification_queries": queries}])
        manifest = create_backup()
        with pytest.raises(VerificationFailed, match=r"gives 0.*nosuch"):
            drill_backup()
        proof = proof_of(manifest)
        assert proof
        assert (proof.queries, len(proof.differences)) == (1, 2)

    def test_a_query_may_change_nothing(self, server: Server) -> None:
        server.site.configure(databases=[{"alias": "default", "verification_queries": ["DELETE FROM book"]}])
        create_backup()
        with pytest.raises(VerificationFailed):
            drill_backup()
        assert server.count("book") == BOOKS

    @pytest.mark.parametrize("alias", ["empty", {"default": "empty", "other": "nosuch"}], ids=str)
    def test_next_to_another_database(self, server: Server, alias: Any) -> None:
        server.site.configure(verification={"drill_alias": alias})
        create_backup()
        assert drill_backup().succeeded
        assert server.table_names("empty") == []

    def test_no_drill_takes_the_step_that_replaces_data(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever it finds."""

        def switch(self: Restoration) -> NoReturn:
            raise AssertionError("a drill switches")

        for kind in _kinds_of(Restoration):
            monkeypatch.setattr(kind, "switch", switch)
        manifest = create_backup()
        assert drill_backup().succeeded
        rewrite(server, manifest, one_row_more)
        with pytest.raises(VerificationFailed, match="instead of 201"):
            drill_backup()

    def test_where_no_count_is_exact_nothing_is_proved(self, server: Server) -> None:
        manifest = create_backup()
        rewrite(server, manifest, no_exact_count)
        with pytest.raises(VerificationFailed, match="nothing could be compared"):
            drill_backup()
        catalog = read_catalog(current_project().storage)
        assert not catalog.is_proved(catalog.backups[0])
        assert (catalog.proofs[manifest.name].tables, catalog.proofs[manifest.name].rows) == (0, 0)

    @pytest.mark.parametrize(
        ("migrations", "difference"),
        [
            ({"shop": ("0002_more",)}, "the last of shop is 0001_initial instead of 0002_more"),
            (
                {"shop": ("0001_initial",), "blog": ("0001_initial",)},
                "the last of blog is None instead of 0001_initial",
            ),
            ({}, "of 1 apps instead of 0"),
        ],
    )
    def test_a_lie_about_the_migrations_is_caught(
        self, server: Server, migrations: dict[str, tuple[str, ...]], difference: str
    ) -> None:
        """They are read where they were restored."""
        server.run(
            "DROP TABLE IF EXISTS django_migrations",
            "CREATE TABLE django_migrations (id integer PRIMARY KEY, app varchar(50), name varchar(50))",
            "INSERT INTO django_migrations VALUES (2, 'shop', '0001_initial'), (1, 'shop', '0000_zero')",
        )
        manifest = create_backup()
        assert manifest.migrations == {"shop": ("0000_zero", "0001_initial")}
        assert drill_backup().succeeded
        document = {**manifest.model_dump(mode="json", by_alias=True), "migrations": migrations}
        (server.site.backups / manifest.key).write_bytes(Manifest.model_validate(document).to_json())
        with pytest.raises(VerificationFailed, match=difference):
            drill_backup()
        assert self.traces(server) == []

    def test_migrations_whose_rows_are_left_out_are_not_missed(self, server: Server) -> None:
        server.run(
            "DROP TABLE IF EXISTS django_migrations",
            "CREATE TABLE django_migrations (id integer PRIMARY KEY, app varchar(50), name varchar(50))",
            "INSERT INTO django_migrations VALUES (1, 'shop', '0001_initial')",
        )
        server.site.configure(databases=[{"alias": "default", "exclude_tables": ["django_migrations"]}])
        create_backup()
        assert drill_backup().succeeded

    def test_a_scheduled_one_through_a_tick(self, server: Server) -> None:
        call_command("migrate", "django_cfg_backup", verbosity=0)
        server.site.configure(
            schedule={"enabled": False}, verification={"enabled": True, "schedule": {"cron": "* * * * *"}}
        )
        manifest = create_backup()
        ticked = tick()
        assert ticked.problems == []
        (verified,) = ticked.verified
        assert isinstance(verified, VerificationResult)
        assert verified.proof == proof_of(manifest)
        assert verified.proof
        assert verified.proof.rows == manifest.rows
        assert self.traces(server) == []

    def test_no_drill_runs_into_a_restore(self, server: Server) -> None:
        """Two at once are refused; that says nothing of the backup, and no proof is written."""
        server.site.configure(lock_timeout=1)
        manifest = create_backup()
        engine = current_project().engine("default")
        with engine.restoration(manifest), pytest.raises(RestoreUnderWay):
            drill_backup()
        assert proof_of(manifest) is None

    def test_killed_at_random_moments_nothing_stays_after_the_next(self, server: Server) -> None:
        self.kill_drills(server, 4)

    @pytest.mark.long
    def test_killed_20_times_nothing_stays_after_the_next(self, server: Server) -> None:
        self.kill_drills(server, 20)

    def kill_drills(self, server: Server, times: int) -> None:
        manifest = create_backup()
        took = run_and_kill(server.site, drill_backup, after=None)
        for moment in (took / 20, *(random.uniform(0, took) for _ in range(times - 1))):
            run_and_kill(server.site, drill_backup, after=moment)
            assert server.count("book") == BOOKS
        while True:
            try:
                assert drill_backup().proves(manifest)
            except RestoreUnderWay:
                time.sleep(0.05)  # the server has not noticed the last kill yet
            else:
                break
        assert self.traces(server) == []
        restore_backup()

    def test_what_says_nothing_of_the_backup_proves_nothing(self, server: Server) -> None:
        """An earlier proof stays."""
        manifest = create_backup()
        proof = drill_backup()
        server.site.configure(verification={"drill_alias": "nosuch"})
        with pytest.raises(BackupError, match="'nosuch'"):
            drill_backup()
        assert proof_of(manifest) == proof
