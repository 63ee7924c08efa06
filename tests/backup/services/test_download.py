"""Downloading a backup: it is checked before it gets its final name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.errors import NameTaken, NotEnoughSpace, StorageError, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.catalog.download import download_backup
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.verification.verify import verify_backup
from django_cfg.backup.storage.local import LocalStorage
from tests.support.django_project import Site


def download(manifest: Manifest, folder: Path, *, plain: bool = False) -> Path:
    return download_backup(current_project().storage, manifest, folder, plain=plain)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("books")
class TestAsStored:
    def test_downloaded_files_can_be_used_as_a_storage(self, site: Site) -> None:
        """On another machine they are listed, verified and restored."""
        manifest = site.create()
        path = download(manifest, site.root / "out")
        assert path == site.root / "out" / manifest.archive_key
        storage = LocalStorage(site.root / "out")
        assert read_catalog(storage).backups == (manifest,)
        site.configure(storage={"local_path": str(site.root / "out")})
        assert verify_backup() == manifest
        assert path.read_bytes() == (site.backups / manifest.archive_key).read_bytes()

    def test_folders_in_the_name_are_kept(self, site: Site) -> None:
        site.configure(filename_template="{env}/{database}/{timestamp}")
        manifest = site.create()
        path = download(manifest, site.root / "out")
        assert path == site.root / "out" / manifest.archive_key
        assert read_catalog(LocalStorage(site.root / "out")).backups == (manifest,)


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("compression", ["gzip", "zstd", "bz2", "xz", "none"])
def test_a_plain_download_is_the_output_of_the_dump_program(site: Site, compression: Compression) -> None:
    """It has the manifest's raw digest, a name without the suffix, and no manifest next to it."""
    site.configure(compression=compression)
    manifest = site.create()
    path = download(manifest, site.root / "out", plain=True)
    assert path.name == f"{manifest.name}.sqlite3"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest.archive.raw_sha256
    assert site.sql("SELECT count(*) FROM book", database=path) == [(200,)]
    assert files(site.root / "out") == [path.name]


@pytest.mark.usefixtures("books")
class TestRefusals:
    @pytest.mark.parametrize("plain", [False, True])
    def test_nothing_is_overwritten(self, site: Site, plain: bool) -> None:
        manifest = site.create()
        path = download(manifest, site.root / "out", plain=plain)
        path.write_bytes(b"somebody's own")
        with pytest.raises(NameTaken, match=path.name):
            download(manifest, site.root / "out", plain=plain)
        assert path.read_bytes() == b"somebody's own"

    def test_an_existing_manifest_prevents_the_archive_too(self, site: Site) -> None:
        """An archive without its manifest would look like a damaged backup."""
        manifest = site.create()
        (site.root / "out").mkdir()
        (site.root / "out" / manifest.key).write_text("somebody's own")
        with pytest.raises(NameTaken):
            download(manifest, site.root / "out")
        assert files(site.root / "out") == [manifest.key]

    @pytest.mark.parametrize("plain", [False, True])
    @pytest.mark.parametrize("position", [0, 0.5, -1])
    def test_a_damaged_backup_makes_no_file(self, site: Site, plain: bool, position: float) -> None:
        manifest = site.create()
        archive = site.backups / manifest.archive_key
        content = bytearray(archive.read_bytes())
        content[int(position * len(content)) if isinstance(position, float) else position] ^= 1
        archive.write_bytes(content)
        with pytest.raises(VerificationFailed):
            download(manifest, site.root / "out", plain=plain)
        assert files(site.root / "out") == []

    def test_a_missing_backup_makes_no_folder(self, site: Site) -> None:
        manifest = site.create()
        (site.backups / manifest.archive_key).unlink()
        with pytest.raises(StorageError, match="is missing"):
            download(manifest, site.root / "out")
        assert not (site.root / "out").exists()

    def test_a_full_disk_makes_no_file(self, site: Site, small_disk: Path) -> None:
        manifest = site.create()
        (small_disk / "filler").write_bytes(bytes(1_000_000))
        with pytest.raises(NotEnoughSpace):
            download(manifest, small_disk / "out", plain=True)
        assert files(small_disk) == ["filler"]

    def test_a_target_that_is_a_file_is_an_error(self, site: Site) -> None:
        """The error names the target, and does not blame the storage."""
        (site.root / "out").write_text("a file")
        with pytest.raises(StorageError, match=str(site.root / "out")) as caught:
            download(site.create(), site.root / "out")
        assert "local_path" not in str(caught.value)
