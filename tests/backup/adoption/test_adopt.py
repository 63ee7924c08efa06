"""backup_adopt: files and objects get a manifest after they were restored; what is refused leaves nothing."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from django_cfg.backup import DecryptionKey, adopt_backup, create_backup, drill_backup, restore_backup, verify_backup
from django_cfg.backup.errors import StorageError
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.storage.local import LocalStorage
from tests.backup.adoption.conftest import Adopt
from tests.support.databases import BOOKS
from tests.support.django_project import Answer, Site
from tests.support.gnupg_home import Home, Laptop, make_passphrases_quick
from tests.support.s3_server import S3Server

DBBACKUP = "default-web1-2026-01-31-020000.sqlite3"  # as django-dbbackup names its archives
SIGNING_KEY = "k" * 40


@pytest.fixture
def archive(books: Path, old: Path) -> Path:
    """A copy of the database, with the name and the form of django-dbbackup's."""
    return shutil.copy(books, old / DBBACKUP)


def manifests(site: Site) -> list[Manifest]:
    return list(read_catalog(current_project().storage).backups)


def refused(site: Site, answer: Answer, code: int, *words: str) -> None:
    """It was refused in these words, and the storage is as empty as before."""
    assert answer.code == code, answer.stderr
    for word in words:
        assert word in answer.stderr
    assert site.stored() == []


def test_an_archive_of_django_dbbackup_becomes_a_backup(site: Site, archive: Path, adopt: Adopt) -> None:
    """Its rows are counted in a scratch, its time is that of its name, and it is restored as any other."""
    site.set(TIME_ZONE="Europe/Berlin")
    site.configure(retention={"enabled": False})
    before = site.content()
    answer = adopt(archive)
    assert answer.code == 0, answer.stderr
    assert "its name says" in answer.stdout
    (manifest,) = manifests(site)
    assert manifest.name == "default_20260131_020000_test"
    assert manifest.started_at == datetime(2026, 1, 31, 2, tzinfo=ZoneInfo("Europe/Berlin"))
    assert {table.name: table.rows for table in manifest.tables}["book"] == BOOKS
    assert manifest.migrations["django_cfg_backup"]
    assert manifest.adopted is not None
    assert (manifest.adopted.name, manifest.adopted.time_from) == (DBBACKUP, "name")
    assert manifest.host == ""
    assert archive.exists()
    assert verify_backup() == manifest
    assert drill_backup().succeeded
    site.sql("DELETE FROM book")
    restore_backup()
    assert site.content() == before


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".dat", bytes)],
    ids=["gzip", "bz2", "xz", "plain"],
)
def test_the_compression_is_found_in_the_bytes(
    site: Site, archive: Path, adopt: Adopt, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    """The copy is compressed and named as the project's own archives are."""
    site.configure(compression="xz")
    found = archive.with_name(f"{DBBACKUP}{suffix}")
    found.write_bytes(pack(archive.read_bytes()))
    assert adopt(found).code == 0
    (manifest,) = manifests(site)
    assert manifest.archive.key == f"{manifest.name}.sqlite3.xz"
    assert manifest.compression == "xz"
    assert verify_backup() == manifest


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2025-12-24T18:00:00", datetime(2025, 12, 24, 17, tzinfo=UTC)),
        ("2025-12-24T18:00:00+05:00", datetime(2025, 12, 24, 13, tzinfo=UTC)),
        ("2025-12-24", datetime(2025, 12, 23, 23, tzinfo=UTC)),
    ],
)
def test_the_given_time_counts_before_the_name(
    site: Site, archive: Path, adopt: Adopt, given: str, expected: datetime
) -> None:
    site.set(TIME_ZONE="Europe/Berlin")
    assert adopt(archive, f"--taken-at={given}").code == 0
    (manifest,) = manifests(site)
    assert manifest.started_at == manifest.finished_at == expected
    assert manifest.adopted is not None
    assert manifest.adopted.time_from == "option"


def test_without_a_time_in_the_name_the_age_of_the_file_counts(
    site: Site, books: Path, old: Path, adopt: Adopt
) -> None:
    found = shutil.copy(books, old / "before-the-move.db")
    os.utime(found, (1_750_000_000, 1_750_000_000))
    answer = adopt(found)
    assert "the age of the file says" in answer.stdout
    assert manifests(site)[0].started_at == datetime.fromtimestamp(1_750_000_000, UTC)


@pytest.mark.parametrize("given", ["yesterday", "", "2026-13-01", "0001-01-01", "1970-01-01T00:00:00"])
def test_a_time_that_is_none_is_wrong_usage(site: Site, archive: Path, adopt: Adopt, given: str) -> None:
    refused(site, adopt(archive, f"--taken-at={given}"), 2, "--taken-at")


def test_a_time_in_the_future_is_refused(site: Site, archive: Path, adopt: Adopt) -> None:
    """Of the option, of the name, of the file: retention would keep nothing after such a backup."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    refused(site, adopt(archive, f"--taken-at={tomorrow.isoformat()}"), 2, "in the future")
    named = archive.rename(archive.with_name(f"default-web1-{tomorrow:%Y-%m-%d-%H%M%S}.sqlite3"))
    refused(site, adopt(named), 2, "in the future", "--taken-at")
    aged = named.rename(named.with_name("plain.sqlite3"))
    os.utime(aged, (tomorrow.timestamp(),) * 2)
    refused(site, adopt(aged), 2, "in the future", "--taken-at")


def test_what_is_adopted_already_is_not_adopted_again(site: Site, archive: Path, adopt: Adopt) -> None:
    """By the bytes, under whatever name."""
    assert adopt(archive).code == 0
    stored = site.stored()
    again = adopt(archive.rename(archive.with_name("other.sqlite3")), "--json")
    assert again.code == 0
    assert again.json["already"] is True
    assert site.stored() == stored


def test_an_archive_whose_manifest_is_lost_stays_where_it_is(site: Site, books: Path, adopt: Adopt) -> None:
    """Its name says when it was made; its bytes are not copied."""
    made = create_backup()
    (site.backups / made.key).unlink()
    answer = adopt(made.archive_key)
    assert answer.code == 0, answer.stderr
    assert "stays where it is" in answer.stdout
    (manifest,) = manifests(site)
    assert (manifest.name, manifest.archive) == (made.name, made.archive)
    assert manifest.tables == made.tables
    assert manifest.migrations == made.migrations
    assert manifest.restore_hint == made.restore_hint
    assert manifest.started_at == made.started_at.replace(microsecond=0)
    assert len(site.stored()) == 2
    assert adopt(site.backups / made.archive_key, "--json").json["already"] is True


def test_another_object_of_the_storage_is_copied_to_a_fitting_name(site: Site, books: Path, adopt: Adopt) -> None:
    """A file in the folder of the storage is an object of it. It stays."""
    site.backups.mkdir()
    shutil.copy(books, site.backups / DBBACKUP)
    assert adopt(DBBACKUP).code == 0
    (manifest,) = manifests(site)
    assert site.stored() == sorted([DBBACKUP, manifest.key, manifest.archive_key])


def test_a_name_that_is_taken_is_not_overwritten(site: Site, archive: Path, adopt: Adopt) -> None:
    site.backups.mkdir()
    other = site.backups / "default_20260131_020000_test.txt"
    other.write_text("mine")
    assert adopt(archive).code == 0
    assert manifests(site)[0].name == "default_20260131_020000_test-2"
    assert other.read_text() == "mine"


def test_an_object_with_a_damaged_manifest_is_refused(site: Site, books: Path, adopt: Adopt) -> None:
    made = create_backup()
    (site.backups / made.key).write_text("{")
    stored = site.stored()
    answer = adopt(made.archive_key)
    assert answer.code == 1
    assert "damaged" in answer.stderr
    assert site.stored() == stored
    assert adopt(made.key).code == 1  # a manifest is no archive
    assert site.stored() == stored


def test_a_part_of_a_dump_by_several_programs_is_refused(site: Site, old: Path, adopt: Adopt) -> None:
    """Rows of some tables would be missing, and nothing would show it."""
    site.backups.mkdir()
    first = "default_20260131_020000_test.pgdump.gz"
    (site.backups / first).write_bytes(b"x")
    (site.backups / first.replace(".pgdump", ".rows1.pgdump")).write_bytes(b"x")
    for key in site.stored():
        answer = adopt(key)
        assert answer.code == 1
        assert "dump_jobs" in answer.stderr
    assert len(site.stored()) == 2


def test_a_damaged_archive_leaves_nothing(site: Site, archive: Path, adopt: Adopt) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    refused(site, adopt(archive), 1, "not adopted", "nothing was stored")
    packed = archive.with_name(f"{DBBACKUP}.gz")
    packed.write_bytes(gzip.compress(content)[:-20])
    refused(site, adopt(packed), 1, "cut short or damaged")
    packed.write_bytes(gzip.compress(content) + b"appended")
    refused(site, adopt(packed), 1, "not adopted")


def test_a_file_that_is_not_complete_without_its_log_is_refused(site: Site, archive: Path, adopt: Adopt) -> None:
    """The newest rows are in the file next to it."""
    with closing(sqlite3.connect(archive)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("DELETE FROM book")
        connection.commit()
        refused(site, adopt(archive), 1, f"{DBBACKUP}-wal", ".backup copy.sqlite3")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"-- PostgreSQL database dump\n--\nCREATE TABLE t ();\n",
            ["PostgreSQL dump in plain SQL", "psql", "backup_create"],
        ),
        (b"-- MariaDB dump 10.19-11.8.3-MariaDB, for debian-linux-gnu\n", ["mariadb-dump", "a SQLite database"]),
        (b'BEGIN TRANSACTION;\nCREATE TABLE "t" (i);\nCOMMIT;\n', ["SQLite in SQL", "sqlite3 -bail"]),
        (b"PGDMP\x01\x0e", ["custom format", "a SQLite database"]),
        (b"toc.dat\0" + bytes(249) + b"ustar" + bytes(300), ["tar format", "pg_restore"]),
        (b"once upon a time", ["no kind that is known here", "pg_dump's custom format"]),
        (b"", ["no kind that is known here"]),
    ],
    ids=["plain-postgresql", "mariadb", "sqlite-sql", "pgdump", "tar", "text", "empty"],
)
def test_what_no_restore_could_load_is_refused_with_the_way_out(
    site: Site, old: Path, adopt: Adopt, content: bytes, words: list[str]
) -> None:
    found = old / DBBACKUP
    found.write_bytes(content)
    refused(site, adopt(found), 1, *words)


def test_a_database_that_is_cut_short_is_refused(site: Site, archive: Path, adopt: Adopt) -> None:
    archive.write_bytes(archive.read_bytes()[:50])
    refused(site, adopt(archive), 1, "is cut short: it has 50 bytes, less than the header of SQLite")


def test_a_database_without_a_row_is_refused(site: Site, old: Path, adopt: Adopt) -> None:
    found = old / DBBACKUP
    site.sql("CREATE TABLE t (i)", database=found)
    refused(site, adopt(found), 1, "not one row")


def test_what_does_not_exist_is_wrong_usage(site: Site, old: Path, archive: Path, adopt: Adopt) -> None:
    refused(site, adopt(old / "missing.gz"), 2, "There is no file")
    refused(site, adopt(old), 2, "is a folder")
    refused(site, adopt(archive, database="unknown"), 2, "no database 'unknown'")
    refused(site, adopt(""), 2, "no name of a file")
    refused(site, adopt("x" * 5000), 1, "File name too long")


def test_without_a_yes_nothing_is_done(site: Site, archive: Path) -> None:
    answer = site.call("backup_adopt", str(archive), "--database=default")
    refused(site, answer, 1, "adopt only what you trust", "--yes")


def test_what_the_retention_would_delete_is_pinned(site: Site, archive: Path, adopt: Adopt) -> None:
    """An old archive is not lost at the next backup because somebody adopted it."""
    site.configure(retention={"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0})
    create_backup()
    answer = adopt(archive, "--json")
    assert answer.json["pinned"] is True
    create_backup()
    assert any(manifest.adopted for manifest in manifests(site))


def test_what_the_next_backup_would_displace_is_pinned(site: Site, archive: Path, adopt: Adopt) -> None:
    """As long as it is the only one nothing deletes it; that ends with the next backup."""
    site.configure(retention={"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0})
    assert adopt(archive, "--json").json["pinned"] is True
    create_backup()
    assert len(manifests(site)) == 2


def test_what_the_retention_keeps_is_not_pinned(site: Site, archive: Path, adopt: Adopt) -> None:
    create_backup()
    assert adopt(archive, "--json").json["pinned"] is False


def test_the_manifest_is_signed(site: Site, archive: Path, adopt: Adopt) -> None:
    """And an old archive that is signed today casts no doubt on the backups that were made before the key was set."""
    create_backup()
    site.configure(signing_key=SIGNING_KEY)
    assert adopt(archive).code == 0
    listed = site.call("backup_list", "--json").json
    assert [each["signature"] for each in listed] == ["none", "good"]
    assert "counts for nothing" not in site.call("backup_prune", "--dry-run", "--yes").stdout


def test_a_failure_at_the_last_step_leaves_nothing(
    site: Site, archive: Path, adopt: Adopt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive, and a pin that was written before, are withdrawn; an archive that was there before is not."""
    site.configure(retention={"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0})
    made = create_backup()
    write = LocalStorage.write

    def fail(storage: LocalStorage, key: str, data: bytes) -> None:
        if key.endswith("_test.json"):
            raise StorageError("the disk is gone")
        write(storage, key, data)

    stored = site.stored()
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "write", fail)
        assert adopt(archive).code == 1
    assert site.stored() == stored
    (site.backups / made.key).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "write", fail)
        assert adopt(made.archive_key).code == 1
    assert site.stored() == [made.archive_key]


def test_an_interruption_after_the_last_step_leaves_the_backup(
    site: Site, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest names the archive by then."""
    read = LocalStorage.read

    def interrupt(storage: LocalStorage, key: str) -> bytes:
        found = read(storage, key)
        if key.endswith("_test.json"):
            monkeypatch.undo()
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(LocalStorage, "read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        adopt_backup(str(archive), "default")
    storage = LocalStorage(site.backups)
    (manifest,) = read_catalog(storage).backups
    assert storage.stat(manifest.archive_key) is not None


def test_a_dump_of_some_tables_is_said(site: Site, archive: Path, adopt: Adopt) -> None:
    """As far as the newest backup shows it."""
    create_backup()
    site.sql("DROP TABLE book", database=archive)
    answer = adopt(archive)
    assert answer.code == 0
    assert "lacks 1 table of the newest backup (book)" in answer.stderr


def test_a_file_that_changes_after_it_was_examined_is_refused(
    site: Site, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that is still under way, for example."""
    from django_cfg.backup.services.adoption import adopt as service

    examine = service.examine

    def examine_then_grow(*arguments: object) -> object:
        found = examine(*arguments)  # type: ignore[arg-type]
        with archive.open("ab") as file:
            file.write(bytes(4096))
        return found

    monkeypatch.setattr(service, "examine", examine_then_grow)
    with pytest.raises(Exception, match="changed while it was restored"):
        adopt_backup(str(archive), "default")
    assert site.stored() == []


class TestEncryption:
    @pytest.fixture(autouse=True)
    def _isolated(self, server_home: Home, temporary: object, monkeypatch: pytest.MonkeyPatch) -> None:
        make_passphrases_quick(monkeypatch)

    def encrypted(self, archive: Path, laptop: Laptop, *options: str) -> Path:
        """As django-dbbackup encrypts, which asks gpg for armor."""
        found = archive.with_name(f"{archive.name}.gpg")
        arguments = ["--trust-model=always", *options, f"--recipient={laptop.good}", "--encrypt"]
        found.write_bytes(laptop.home.run(*arguments, given=archive.read_bytes()).stdout)
        return found

    @pytest.mark.parametrize("options", [[], ["--armor"]], ids=["binary", "armored"])
    def test_an_encrypted_archive_is_opened_and_encrypted_to_the_projects_own_key(
        self, site: Site, archive: Path, adopt: Adopt, laptop: Laptop, tmp_path: Path, options: list[str]
    ) -> None:
        """No plain byte is stored."""
        site.configure(encryption_key="correct horse battery staple")
        key = tmp_path / "private.asc"
        key.write_text(laptop.home.private(laptop.good))
        found = self.encrypted(archive, laptop, *options)
        answer = adopt(found, f"--private-key={key}")
        assert answer.code == 0, answer.stderr
        assert "encrypted" in answer.stdout
        (manifest,) = manifests(site)
        assert manifest.encryption.method == "passphrase"
        assert b"SQLite" not in (site.backups / manifest.archive_key).read_bytes()
        assert verify_backup() == manifest

    def test_without_its_key_it_is_refused(self, site: Site, archive: Path, adopt: Adopt, laptop: Laptop) -> None:
        site.configure(encryption_key="correct horse battery staple")
        refused(site, adopt(self.encrypted(archive, laptop)), 1, "--private-key")

    def test_it_is_not_stored_in_plain(
        self, site: Site, archive: Path, adopt: Adopt, laptop: Laptop, tmp_path: Path
    ) -> None:
        key = tmp_path / "private.asc"
        key.write_text(laptop.home.private(laptop.good))
        answer = adopt(self.encrypted(archive, laptop), f"--private-key={key}")
        refused(site, answer, 1, "would not be", "encryption_key")

    def test_an_archive_that_was_encrypted_with_a_passphrase(
        self, site: Site, archive: Path, adopt: Adopt, laptop: Laptop
    ) -> None:
        """It is among those of the configuration."""
        passphrase = "of the old backups"
        site.configure(encryption_key=laptop.public, decryption_keys=[passphrase])
        options = ["--pinentry-mode=loopback", "--passphrase-fd=0", "--symmetric"]
        found = archive.with_name(f"{DBBACKUP}.gpg")
        laptop.home.run(*options, f"--output={found}", str(archive), given=f"{passphrase}\n".encode())
        answer = adopt(found)
        assert answer.code == 0, answer.stderr
        assert manifests(site)[0].encryption.method == "public-key"

    def test_the_recipients_of_an_archive_whose_manifest_is_lost(
        self, site: Site, books: Path, adopt: Adopt, laptop: Laptop, tmp_path: Path
    ) -> None:
        """They are in the archive, by the ids of their keys."""
        site.configure(encryption_key=f"{laptop.public}\n{laptop.home.public(laptop.recovery)}")
        made = create_backup()
        (site.backups / made.key).unlink()
        key = tmp_path / "private.asc"
        key.write_text(laptop.home.private(laptop.good))
        answer = adopt(made.archive_key, f"--private-key={key}")
        assert answer.code == 0, answer.stderr
        (manifest,) = manifests(site)
        assert len(manifest.encryption.recipients) == len(made.encryption.recipients) == 2
        assert manifest.archive == made.archive
        assert drill_backup(decryption_key=DecryptionKey(private_key=key)).succeeded

    def test_a_lost_manifest_of_an_encrypted_archive(self, site: Site, books: Path, adopt: Adopt) -> None:
        """It stays encrypted as it is."""
        site.configure(encryption_key="correct horse battery staple")
        made = create_backup()
        (site.backups / made.key).unlink()
        assert adopt(made.archive_key).code == 0
        (manifest,) = manifests(site)
        assert (manifest.archive, manifest.encryption) == (made.archive, made.encryption)
        assert drill_backup().succeeded


def test_backup_show_says_where_it_came_from(site: Site, archive: Path, adopt: Adopt) -> None:
    adopt(archive)
    shown = site.call("backup_show", "latest").stdout
    assert f"from {DBBACKUP}" in shown
    assert "an unknown host" in shown
    document = json.loads(site.call("backup_show", "latest", "--json").stdout)
    assert DBBACKUP in json.dumps(document)


def test_in_a_bucket(site: Site, archive: Path, adopt: Adopt, s3_server: S3Server) -> None:
    """A file is uploaded; an archive there whose manifest is lost stays where it is."""
    bucket = s3_server.new_bucket()
    site.configure(storage=s3_server.config(bucket))
    answer = adopt(archive)
    assert answer.code == 0, answer.stderr
    (manifest,) = manifests(site)
    current_project().storage.delete(manifest.key)
    stored = s3_server.files(bucket)
    again = adopt(manifest.archive_key, "--taken-at=2026-01-31T02:00:00")
    assert again.code == 0, again.stderr
    assert set(s3_server.files(bucket)) - set(stored) == {f"db-backups/{manifest.key}"}
    assert drill_backup().succeeded
