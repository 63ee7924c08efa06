"""Harm of every kind, at random places of an archive: each is found before a client or SQLite sees a byte of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from django_cfg.backup import create_backup, drill_backup, restore_backup
from django_cfg.backup.engines.mysql.dump_loader import DumpLoader
from django_cfg.backup.engines.postgresql.pg_restore import OpenedArchive
from django_cfg.backup.engines.sqlite import staging as sqlite_staging
from django_cfg.backup.errors import BackupError, EncryptionError, VerificationFailed
from tests.support.databases import Server
from tests.support.django_project import Site
from tests.support.sqlite_databases import SQLiteServer

HARMS = 100  # for each form of a format


def flip(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]


def swap(data: bytes, dice: random.Random) -> bytes:
    """Two halves of a part of it."""
    begin, middle, end = sorted(dice.sample(range(len(data) + 1), 3))
    return data[:begin] + data[middle:end] + data[begin:middle] + data[end:]


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def double(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + data


def zero(data: bytes, dice: random.Random) -> bytes:
    at, size = dice.randrange(len(data)), dice.randint(1, 5_000)
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


def exchange(data: bytes, dice: random.Random, other: bytes) -> bytes:
    """A part with that of another genuine archive."""
    at, size = dice.randrange(len(data)), dice.randint(1, len(data))
    return data[:at] + other[at : at + size] + data[at + size :]


KINDS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, flip, flip, swap, cut, double, zero)


class HarmedArchives:
    """Inherit, and define the fixture ``server``."""

    ways: Sequence[Callable[[str], object]] = (
        drill_backup,
        restore_backup,
        partial(restore_backup, tables=["book"]),
        partial(restore_backup, in_place=True),
    )

    @pytest.fixture
    def server(self, site: Site) -> Server:
        raise NotImplementedError

    @pytest.mark.long
    @pytest.mark.parametrize("sealed", ["gzip", "none", "with a passphrase"])
    def test_each_is_found(self, server: Server, sealed: str, monkeypatch: pytest.MonkeyPatch) -> None:
        key = {"encryption_key": "correct horse battery staple"} if sealed == "with a passphrase" else {}
        server.site.configure(compression="none" if sealed == "none" else "gzip", **key)
        manifest = create_backup()
        path = server.site.backups / manifest.archive_key
        good = path.read_bytes()
        server.run("UPDATE book SET title = 'another archive'")
        another = create_backup()
        other = server.site.backups / another.archive_key
        kinds = (*KINDS, partial(exchange, other=other.read_bytes()))
        began: list[str] = []

        def begin(*arguments: object, **options: object) -> None:
            began.append("a client")
            raise AssertionError("a client was given bytes of a harmed archive")

        monkeypatch.setattr(OpenedArchive, "__init__", begin)
        monkeypatch.setattr(DumpLoader, "load", begin)
        monkeypatch.setattr(sqlite_staging, "check_file", begin)
        dice = random.Random(99)
        found = 0
        while found < HARMS:
            harmed = dice.choice(kinds)(good, dice)
            if harmed == good:
                continue
            path.write_bytes(harmed)
            with pytest.raises((VerificationFailed, EncryptionError)):
                self.ways[found % len(self.ways)](manifest.name)
            found += 1
        assert began == []
        path.write_bytes(good)
        with pytest.raises((AssertionError, BackupError)):
            restore_backup(manifest.name)
        assert began, "with a good archive the client is reached: the test can fail"


class TestPostgreSQL(HarmedArchives):
    @pytest.fixture
    def server(self, postgresql_server: Server) -> Server:
        return postgresql_server


class TestMySQL(HarmedArchives):
    @pytest.fixture
    def server(self, mysql_server: Server) -> Server:
        return mysql_server


class TestSQLite(HarmedArchives):
    ways = HarmedArchives.ways[:-1]  # it has no restore in place

    @pytest.fixture
    def server(self, site: Site) -> Server:
        return SQLiteServer(site, "delete")
