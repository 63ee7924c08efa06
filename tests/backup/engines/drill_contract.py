"""What drills keep on every engine. The next one joins by naming its ``server`` fixture: see test_drills.py."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest

from django_cfg.backup import create_backup, drill_backup, restore_backup
from django_cfg.backup.errors import BackupError, IntegrityError, RestoreUnderWay
from django_cfg.backup.manifest import Manifest, Proof
from django_cfg.backup.services.catalog import read_catalog
from django_cfg.backup.services.project import current_project
from tests.backup.engines.contract import AUTHORS, BOOKS, Server
from tests.backup.engines.kills import run_and_kill

QUERY = f"SELECT count(*) = {BOOKS} FROM book"


def proof_of(manifest: Manifest) -> Proof | None:
    return read_catalog(current_project().storage).proofs.get(manifest.name)


def rewrite(server: Server, manifest: Manifest, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Let the manifest tell other tables."""
    document = manifest.model_dump(mode="json", by_alias=True)
    change(document["tables"])
    (server.site.backups / manifest.key).write_bytes(Manifest.model_validate(document).to_json())


def one_row_more(tables: list[dict[str, Any]]) -> None:
    book(tables)["rows"] += 1


def a_table_that_is_missing(tables: list[dict[str, Any]]) -> None:
    tables.append({**book(tables), "name": f"{book(tables)['name']}_lost"})


def a_table_too_many(tables: list[dict[str, Any]]) -> None:
    tables.remove(book(tables))


def book(tables: list[dict[str, Any]]) -> dict[str, Any]:
    return next(table for table in tables if table["name"].rpartition(".")[2] == "book")


class DrillContract:
    """Inherit, and define the fixture ``server``, and ``traces``."""

    @pytest.fixture
    def server(self, site: Any) -> Server:
        raise NotImplementedError

    def traces(self, server: Server) -> list[str]:
        """What restores and drills of ``default`` have left beside it."""
        raise NotImplementedError

    def test_a_good_backup_is_proved(self, server: Server) -> None:
        """Every table is counted, every query asked, and the target is as it was, without a trace beside it."""
        server.site.configure(databases=[{"alias": "default", "verification_queries": [QUERY, "SELECT 1"]}])
        manifest = create_backup()
        server.run("DELETE FROM book WHERE id > 10")
        proof = drill_backup()
        assert proof == proof_of(manifest)
        assert proof.proves(manifest)
        assert (proof.tables, proof.rows, proof.queries) == (len(manifest.tables), manifest.rows, 2)
        assert proof.rows >= AUTHORS + BOOKS
        assert proof.server_version.startswith(manifest.engine.server_version)
        assert proof.duration > 0
        assert server.count("book") == 10
        assert self.traces(server) == []

    @pytest.mark.parametrize(
        ("lie", "difference"),
        [
            (one_row_more, "book has 200 rows instead of 201"),
            (a_table_that_is_missing, "book_lost is missing"),
            (a_table_too_many, "book is not in the manifest"),
        ],
    )
    def test_a_manifest_that_lies_is_caught(
        self, server: Server, lie: Callable[[list[dict[str, Any]]], None], difference: str
    ) -> None:
        manifest = create_backup()
        drill_backup()
        rewrite(server, manifest, lie)
        with pytest.raises(IntegrityError, match=difference):
            drill_backup()
        proof = proof_of(manifest)
        assert proof
        assert not proof.succeeded
        assert difference in proof.differences[0]
        assert self.traces(server) == []

    def test_the_archive_of_another_backup_is_caught(self, server: Server) -> None:
        """Whole, restorable, of the very same size, and not the one that was stored under this name."""
        server.site.configure(compression="none")
        mine = create_backup()
        server.run("UPDATE book SET title = 'Bock 7' WHERE id = 7")
        other = create_backup()
        assert mine.archive.size == other.archive.size
        shutil.copy(server.site.backups / other.archive_key, server.site.backups / mine.archive_key)
        with pytest.raises(IntegrityError, match="SHA-256 differs"):
            drill_backup(mine.name)
        assert not read_catalog(current_project().storage).is_proved(mine)
        assert self.traces(server) == []

    def test_a_damaged_archive_is_caught(self, server: Server) -> None:
        manifest = create_backup()
        path = server.site.backups / manifest.archive_key
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(IntegrityError, match="SHA-256 differs"):
            drill_backup()
        assert self.traces(server) == []

    def test_every_query_that_is_not_true_is_told(self, server: Server) -> None:
        queries = ["SELECT 1", "SELECT count(*) FROM book WHERE id > 1000", "SELECT 1 FROM nosuch"]
        server.site.configure(databases=[{"alias": "default", "verification_queries": queries}])
        manifest = create_backup()
        with pytest.raises(IntegrityError, match=r"gives 0.*nosuch"):
            drill_backup()
        proof = proof_of(manifest)
        assert proof
        assert (proof.queries, len(proof.differences)) == (1, 2)

    def test_a_query_may_change_nothing(self, server: Server) -> None:
        server.site.configure(databases=[{"alias": "default", "verification_queries": ["DELETE FROM book"]}])
        create_backup()
        with pytest.raises(IntegrityError):
            drill_backup()
        assert server.count("book") == BOOKS

    def test_beside_another_database(self, server: Server) -> None:
        server.site.configure(verification={"drill_alias": "empty"})
        create_backup()
        assert drill_backup().succeeded
        assert server.table_names("empty") == []

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
        killed = 0
        for _ in range(times):
            killed += run_and_kill(server.site, drill_backup, after=random.uniform(0, took)) < took
            assert server.count("book") == BOOKS
        assert killed, "no kill came before the end"
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
