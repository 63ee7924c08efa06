"""A dump by several programs in one snapshot keeps the contracts of one by a single program."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, drill_backup, restore_backup, verify_backup
from django_cfg.backup.engines.postgresql import schema
from django_cfg.backup.errors import BackupError, DumpFailed, StorageError, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.storage.local import LocalStorage
from django_cfg.backup.storage.local.partial_file import PartialFile
from tests.backup.engines.engine_contract import EngineContract
from tests.backup.engines.restore_contract import InPlace, OfTables, RestoreContract
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.processes import children, threads
from tests.support.s3_server import S3Server


def several(server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> PostgreSQLServer:
    monkeypatch.setattr(schema, "LARGE_TABLE", 0)
    server.site.always["dump_jobs"] = 3
    server.site.configure()
    return server


@pytest.fixture
def server(postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> PostgreSQLServer:
    postgresql_server.run("CREATE TABLE third AS SELECT * FROM book")  # so that each program has rows
    return several(postgresql_server, monkeypatch)


class TestPostgreSQL(EngineContract):
    is_variant = True

    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> PostgreSQLServer:
        return several(postgresql_server, monkeypatch)


class TestRestore(RestoreContract):
    is_variant = True

    @pytest.fixture
    def server(self, postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> PostgreSQLServer:
        return several(postgresql_server, monkeypatch)


class TestRestoreInPlace(InPlace, TestRestore): ...


class TestRestoreOfTables(OfTables, TestRestore): ...


def test_each_program_stores_an_archive(server: PostgreSQLServer) -> None:
    manifest = create_backup()
    assert [archive.key.removeprefix(manifest.name) for archive in manifest.archives] == [
        ".pgdump.gz", ".rows1.pgdump.gz", ".rows2.pgdump.gz",
    ]  # fmt: skip
    assert server.site.stored() == sorted([*manifest.archive_keys, manifest.key])
    assert manifest.size == sum((server.site.backups / key).stat().st_size for key in manifest.archive_keys)
    assert read_catalog(LocalStorage(server.site.backups)).backups == (manifest,)
    verify_backup()
    assert drill_backup().succeeded
    shown = server.site.call("backup_show", "latest").stdout
    assert all(key in shown for key in manifest.archive_keys)


def test_each_archive_is_announced_with_a_size_that_it_cannot_exceed(
    server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts of an upload are as large as that says, and their number is limited; one table may be nearly all."""
    announced: dict[str, int] = {}
    publish = LocalStorage.publish

    def note(storage: LocalStorage, key: str, *, expected_size: int = 0) -> Any:
        announced[key] = expected_size
        return publish(storage, key, expected_size=expected_size)

    monkeypatch.setattr(LocalStorage, "publish", note)
    server.run("CREATE TABLE huge AS SELECT repeat(md5(i::text), 30) FROM generate_series(1, 20000) i")
    for part in create_backup().parts:
        assert announced[part.archive_key] >= part.raw_size


def test_small_tables_stay_together(server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "LARGE_TABLE", 32 << 20)
    assert create_backup().row_archives == ()


def test_rows_are_shared_out_by_their_size(server: PostgreSQLServer) -> None:
    sizes = {"big_1": 4000, "big_2": 8000, "big_3": 12000}
    for name, rows in sizes.items():
        server.run(f"CREATE TABLE {name} AS SELECT repeat('x', 99) FROM generate_series(1, {rows})")
    tables = [schema.TableName("public", name) for name in sizes]
    with server.connect() as connection:
        assert schema.group_large_tables(connection, tables, 1) == []
        assert schema.group_large_tables(connection, tables, 2) == [[tables[1], tables[0]]]
        assert schema.group_large_tables(connection, tables, 3) == [[tables[1]], [tables[0]]]


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_the_command_of_the_manifest_restores_with_stock_programs(server: PostgreSQLServer, compression: str) -> None:
    server.site.configure(compression=compression)
    before = server.text()
    name = f"by_hand_{server.databases['default']}"
    command = create_backup().restore_hint.replace("restored", name)
    try:
        subprocess.run(["sh", "-c", command], cwd=server.site.backups, env=server.environment(), check=True)
        server.databases["by hand"] = name
        assert server.text("by hand") == before
    finally:
        server.databases.pop("by hand", None)
        server.server.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_a_writer_leaves_one_state(server: PostgreSQLServer) -> None:
    """Rows that refer to one another are in several archives: the foreign keys hold after every restore."""
    ended = threading.Event()
    server.run("CREATE TABLE page (id serial PRIMARY KEY, book int NOT NULL REFERENCES book)")

    def write() -> None:
        with server.connect() as connection:
            connection.autocommit = True
            number = 10_000
            while not ended.is_set():
                number += 1
                with connection.transaction():
                    connection.execute("INSERT INTO book VALUES (%s, 'new', 1)", [number])
                    connection.execute("INSERT INTO page (book) VALUES (%s)", [number])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            create_backup()
    finally:
        ended.set()
        writer.join()
    for manifest in read_catalog(LocalStorage(server.site.backups)).backups:
        rows = {table.name: table.rows for table in manifest.tables}
        restore_backup(manifest.name, discard_old=True)
        assert server.run("SELECT count(*) FROM page") == [(rows["public.page"],)]


class TestDamage:
    def harm(self, server: PostgreSQLServer, manifest: Manifest, number: int) -> None:
        path = server.site.backups / manifest.archive_keys[number]
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_in_any_archive_is_found_before_a_byte_is_loaded(self, server: PostgreSQLServer, number: int) -> None:
        manifest = create_backup()
        before = server.text()
        self.harm(server, manifest, number)
        with pytest.raises(VerificationFailed, match=manifest.archives[number].key):
            verify_backup()
        with pytest.raises(VerificationFailed, match="Nothing of it was run"):
            drill_backup()
        with pytest.raises(VerificationFailed, match="Nothing of it was run"):
            restore_backup()
        assert server.text() == before
        assert server.leftovers() == []

    def test_a_missing_archive_is_a_damaged_backup(self, server: PostgreSQLServer) -> None:
        manifest = create_backup()
        (server.site.backups / manifest.archive_keys[2]).unlink()
        (damaged,) = read_catalog(LocalStorage(server.site.backups)).damaged
        assert manifest.archive_keys[2] in str(damaged.error)

    def test_a_proof_is_of_all_archives(self, server: PostgreSQLServer) -> None:
        manifest = create_backup()
        proof = drill_backup()
        assert proof.proves(manifest)
        second = manifest.row_archives[1].model_copy(update={"sha256": "0" * 64})
        assert not proof.proves(manifest.model_copy(update={"row_archives": (manifest.row_archives[0], second)}))


@pytest.mark.parametrize("place", ["local", "s3"])
def test_encrypted_archives_are_stored_at_the_same_time(
    server: PostgreSQLServer, request: pytest.FixtureRequest, place: str
) -> None:
    """Each has a gpg of its own; in a bucket each is an upload of its own."""
    if place == "s3":
        s3_server: S3Server = request.getfixturevalue("s3_server")
        server.site.always["storage"] = s3_server.config(s3_server.new_bucket())
    server.site.configure(encryption_key="a passphrase of more than twenty letters")
    before = server.text()
    manifest = create_backup()
    assert [archive.key.endswith(".pgdump.gz.gpg") for archive in manifest.archives] == [True] * 3
    server.run("DELETE FROM third")
    restore_backup(discard_old=True)
    assert server.text() == before


def test_leftovers_of_a_killed_run_are_found(server: PostgreSQLServer) -> None:
    manifest = create_backup()
    (server.site.backups / manifest.key).unlink()
    for key in manifest.archive_keys:
        os.utime(server.site.backups / key, (0, 0))
    answer = server.site.call("backup_prune", "--leftovers", "--yes")
    assert answer.code == 0, answer.stderr
    assert server.site.stored() == []


def test_deleting_removes_all_archives(server: PostgreSQLServer) -> None:
    create_backup()
    second = create_backup()
    third = create_backup()
    assert server.site.call("backup_delete", second.name, "--yes").code == 0
    stored = set(server.site.stored())
    assert stored.isdisjoint({second.key, *second.archive_keys})
    assert stored > {third.key, *third.archive_keys}


@pytest.mark.parametrize("plain", [[], ["--plain"]], ids=["stored", "plain"])
def test_a_download_has_all_archives(server: PostgreSQLServer, tmp_path: Path, plain: list[str]) -> None:
    manifest = create_backup()
    answer = server.site.call("backup_download", "latest", "--to", str(tmp_path / "out"), *plain)
    assert answer.code == 0, answer.stderr
    names = (
        [key.removesuffix(".gz") for key in manifest.archive_keys] if plain else [*manifest.archive_keys, manifest.key]
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)


class TestFailures:
    """Nothing is published, no program goes on, no thread is left."""

    @pytest.fixture(autouse=True)
    def _nothing_left(self, server: PostgreSQLServer) -> Iterator[None]:
        before = children(), threads()
        yield
        assert children() <= before[0]
        assert threads() <= before[1]
        assert server.site.stored() == []

    @pytest.mark.parametrize("failing", ["definitions", "rows"])
    def test_one_kind_of_program_fails(self, server: PostgreSQLServer, tmp_path: Path, failing: str) -> None:
        """The others, which would go on for long, are ended at once."""
        program, ended, tools = server.server.programs / "pg_dump", tmp_path / "ended", tmp_path / "tools"
        tools.mkdir()
        for each in server.server.programs.iterdir():
            (tools / each.name).symlink_to(each)
        (tools / "pg_dump").unlink()
        (tools / "pg_dump").write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && exec {program} --version\n'
            'case "$*" in *--data-only*) kind=rows;; *) kind=definitions;; esac\n'
            f'[ $kind = {failing} ] && {{ echo "pg_dump: error: it is the cause" >&2; exit 1; }}\n'
            f"sleep 30; touch {ended}; exit 1\n"
        )
        (tools / "pg_dump").chmod(0o755)
        server.site.configure(tools_dir=str(tools))
        with pytest.raises(DumpFailed, match="it is the cause"):
            create_backup()
        assert not ended.exists()

    @pytest.mark.parametrize("ending", ["_test.pgdump.gz", ".rows1.pgdump.gz"], ids=["first", "another"])
    def test_the_storage_fails(self, server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
        write = PartialFile.write

        def fail(file: PartialFile, block: bytes) -> int:
            if f"{ending}." in file.path.name:
                raise StorageError("the storage is full")
            return write(file, block)

        monkeypatch.setattr(PartialFile, "write", fail)
        with pytest.raises(StorageError, match="the storage is full"):
            create_backup()

    def test_a_lock(self, server: PostgreSQLServer) -> None:
        server.site.configure(lock_timeout=1)
        with server.locked("book"), pytest.raises(BackupError, match="lock"):
            create_backup()
