"""The list of backups and the search by name, from storage alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from django_cfg.backup import list_backups
from django_cfg.backup.errors import BackupNotFound, ManifestError, StorageError, UsageError, VerificationFailed
from django_cfg.backup.manifest import Manifest, Source
from django_cfg.backup.services.catalog import catalog as reading
from django_cfg.backup.services.catalog.catalog import Catalog, find_backup, read_catalog
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.storage.base import Storage
from django_cfg.backup.storage.local import LocalStorage
from tests.support.django_project import Site
from tests.support.manifests import STARTED, make_manifest, publish
from tests.support.unprivileged import Unprivileged


@pytest.fixture
def storage(site: Site) -> Storage:
    return current_project().storage


def source(database: str = "default", env: str = "test", project: str = "tests") -> Source:
    return Source(project=project, env=env, database=database)


def backup(name: str, *, hours: float = 0, of: Source | None = None) -> Manifest:
    """One that began *hours* after the first."""
    moment = STARTED + timedelta(hours=hours)
    return make_manifest(name, started_at=moment, finished_at=moment, source=of or source())


def catalog() -> Catalog:
    return read_catalog(current_project().storage)


def found(name: str, alias: str | None = None) -> str:
    return find_backup(catalog(), current_project(), name, alias).name


class TestReading:
    def test_an_empty_storage_is_an_empty_list(self, site: Site) -> None:
        """Also before the folder exists."""
        assert list_backups() == []

    def test_the_newest_is_first_by_time_not_by_name(self, storage: Storage) -> None:
        """A changed template or a renamed alias does not reorder them."""
        publish(storage, backup("z", hours=1), backup("b/a", hours=3), backup("m", hours=2), backup("a", hours=0))
        assert [manifest.name for manifest in list_backups()] == ["b/a", "m", "z", "a"]

    def test_only_this_project_and_environment_are_listed_by_default(self, storage: Storage) -> None:
        publish(
            storage,
            backup("mine", hours=0),
            backup("theirs", hours=1, of=source(project="other")),
            backup("live", hours=2, of=source(env="production")),
            backup("logs", hours=3, of=source("logs")),
        )
        assert [manifest.name for manifest in list_backups()] == ["logs", "mine"]
        assert [manifest.name for manifest in list_backups(every_source=True)] == ["logs", "live", "theirs", "mine"]

    def test_proofs_and_pins_are_no_backups(self, storage: Storage) -> None:
        publish(storage, backup("shop"))
        storage.write("shop.20260101T020000Z.proof.json", b"{}")
        storage.write("shop.pin.json", b"{}")
        assert [manifest.name for manifest in catalog().backups] == ["shop"]
        assert catalog().damaged == ()

    def test_an_archive_alone_is_no_backup(self, storage: Storage) -> None:
        """No manifest: no backup."""
        storage.write("lonely.sqlite3.gz", b"x")
        assert catalog() == Catalog(storage.location, (), ())

    def test_damaged_backups_are_listed_separately(self, storage: Storage) -> None:
        """Each with its own error, never among the good backups."""
        publish(storage, backup("good"), backup("cut"), backup("gone"), backup("short"), backup("long"))
        root = Path(storage.location)
        (root / "cut.json").write_bytes((root / "cut.json").read_bytes()[:100])
        (root / "gone.sqlite3").unlink()
        (root / "short.sqlite3").write_bytes(b"")
        (root / "long.sqlite3").write_bytes(bytes(1000))
        assert [manifest.name for manifest in catalog().backups] == ["good"]
        errors = {damaged.name: damaged.error for damaged in catalog().damaged}
        assert {name: type(error) for name, error in errors.items()} == {
            "cut": ManifestError,
            "gone": VerificationFailed,
            "short": VerificationFailed,
            "long": VerificationFailed,
        }
        assert "gone.sqlite3 is missing" in str(errors["gone"])
        assert "short.sqlite3 has 0 bytes" in str(errors["short"])

    def test_a_manifest_that_no_test_foresaw_hides_no_other(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish(storage, backup("shop_1"), backup("shop_2"))
        read = reading._read

        def fail(key: str, data: bytes) -> Manifest:
            if key == "shop_1.json":
                raise ZeroDivisionError
            return read(key, data)

        monkeypatch.setattr(reading, "_read", fail)
        found = catalog()
        assert [manifest.name for manifest in found.backups] == ["shop_2"]
        (damaged,) = found.damaged
        assert damaged.name == "shop_1"
        assert "cannot be read (ZeroDivisionError). Report this as a bug." in str(damaged.error)
        assert "Traceback" in caplog.text

    def test_a_manifest_without_read_permission_is_listed_as_damaged(
        self, site: Site, open_folder: Path, unprivileged: Unprivileged
    ) -> None:
        storage = LocalStorage(open_folder)
        publish(storage, backup("good"), backup("closed"))
        for file in open_folder.iterdir():
            file.chmod(0o644)
        (open_folder / "closed.json").chmod(0o000)
        with unprivileged():
            read = read_catalog(storage)
        assert [manifest.name for manifest in read.backups] == ["good"]
        assert [(damaged.name, type(damaged.error)) for damaged in read.damaged] == [("closed", StorageError)]

    def test_a_storage_that_cannot_be_listed_is_an_error(self, open_folder: Path, unprivileged: Unprivileged) -> None:
        """It is not an empty list."""
        folder = open_folder / "backups"
        folder.mkdir(mode=0o700)
        with unprivileged(), pytest.raises(StorageError, match="Permission denied"):
            read_catalog(LocalStorage(folder))


class TestFinding:
    @pytest.fixture(autouse=True)
    def _backups(self, storage: Storage) -> None:
        publish(
            storage,
            backup("shop_1", hours=1),
            backup("shop_10", hours=2),
            backup("shop_11", hours=3),
            backup("logs_1", hours=9, of=source("logs")),
            backup("live_1", hours=20, of=source(env="production")),
            backup("alien_1", hours=30, of=source(project="other")),
        )

    @pytest.mark.parametrize(("name", "expected"), [("shop_1", "shop_1"), ("shop_10", "shop_10"), ("log", "logs_1")])
    def test_a_name_or_an_unambiguous_prefix_is_found(self, name: str, expected: str) -> None:
        """An exact name is never ambiguous, even if others begin with it."""
        assert found(name) == expected

    def test_the_error_for_an_ambiguous_prefix_lists_the_matches(self) -> None:
        with pytest.raises(UsageError, match=r"'shop' fits 3 backups: shop_11, shop_10, shop_1\. Write more"):
            found("shop")

    @pytest.mark.parametrize("later", [("logs_1-2",), ("logs_1-2", "logs_1-13")])
    def test_a_name_that_is_gone_is_no_prefix_of_a_later_one(self, storage: Storage, later: tuple[str, ...]) -> None:
        """A script that names a deleted backup must not restore the one that was begun in the same second."""
        publish(storage, *(backup(name, of=source("logs")) for name in later))
        storage.delete("logs_1.json")
        storage.delete("logs_1.sqlite3")
        with pytest.raises(BackupNotFound, match=rf"There is no backup 'logs_1' .*\. {later[0]}.* is another one\. "):
            found("logs_1")
        assert found(later[0]) == later[0]

    def test_a_prefix_is_searched_within_the_database(self) -> None:
        """``--database`` may make it unambiguous, or leave no match."""
        assert found("l", "logs") == "logs_1"
        with pytest.raises(BackupNotFound):
            found("logs_1", "default")

    def test_other_sources_are_found_by_name(self) -> None:
        """They can be shown, downloaded, or restored with --to."""
        assert found("live_1") == "live_1"
        assert found("alien") == "alien_1"

    @pytest.mark.parametrize("name", ["nosuch", "hop_1", "1", "SHOP_1", "shop_1.json"])
    def test_an_unknown_name_is_not_found(self, name: str, site: Site) -> None:
        """Only prefixes match, case-sensitively. The error says where the search was made and what to do."""
        with pytest.raises(BackupNotFound, match=rf"no backup '{name}' in {site.backups}.*`backup_list --all`"):
            found(name)

    def test_an_empty_name_matches_nothing(self) -> None:
        """``backup_delete "$NAME" --yes`` with an unset variable must not pick even the only backup."""
        with pytest.raises((UsageError, BackupNotFound)):
            found("", "logs")

    def test_latest_is_the_newest_of_one_database(self) -> None:
        """Newer backups of another environment or project do not count."""
        assert found("latest", "default") == "shop_11"
        assert found("latest", "logs") == "logs_1"

    def test_latest_of_several_databases_needs_an_alias(self) -> None:
        with pytest.raises(UsageError, match=r"several databases \(default, logs\).*--database"):
            found("latest")

    def test_latest_of_a_database_without_backups_is_not_found(self, site: Site) -> None:
        sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(site.root / "empty.sqlite3")}
        site.use_databases(default=sqlite, empty=sqlite)
        with pytest.raises(BackupNotFound, match="no backup of tests/test/empty"):
            found("latest", "empty")
        with pytest.raises(UsageError, match=r"no database 'nosuch' in settings\.DATABASES"):
            found("latest", "nosuch")

    def test_latest_needs_no_alias_when_there_is_one_database(self, site: Site) -> None:
        site.set(ENV_MODE="production")
        assert found("latest") == "live_1"

    def test_a_damaged_backup_raises_its_own_error(self, storage: Storage) -> None:
        """Not "there is no such backup"."""
        Path(storage.location, "logs_1.json").write_bytes(b"{")
        with pytest.raises(ManifestError, match=r"logs_1\.json is not complete JSON"):
            found("logs_1")

    def test_a_damaged_backup_makes_a_prefix_ambiguous(self, storage: Storage) -> None:
        """The operator may have meant it: no other backup is restored or deleted instead."""
        storage.delete("shop_1.json")
        storage.delete("shop_10.sqlite3")
        with pytest.raises(UsageError, match="'shop_1' fits 2 backups"):
            found("shop_1")

    def test_a_damaged_backup_is_found_by_its_full_name(self, storage: Storage) -> None:
        """Even if other names begin with it: a longer name cannot be given."""
        publish(storage, backup("site_1"), backup("site_1-2"))
        Path(storage.location, "site_1.json").write_bytes(b"{")
        with pytest.raises(ManifestError, match=r"site_1\.json is not complete JSON"):
            found("site_1")
        assert found("site_1-2") == "site_1-2"

    def test_a_damaged_backup_of_another_name_is_not_meant(self, storage: Storage) -> None:
        Path(storage.location, "broken_1.json").write_bytes(b"{")
        with pytest.raises(BackupNotFound, match="no backup 'nosuch'"):
            found("nosuch")

    def test_latest_skips_a_damaged_newest_backup(self, storage: Storage) -> None:
        """The commands warn of the damaged one."""
        Path(storage.location, "shop_11.sqlite3").unlink()
        assert found("latest", "default") == "shop_10"
