"""An encrypted archive whose head is damaged looks like one made with another key, and is distinguished from it."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import pytest

from django_cfg.backup.errors import EncryptionError, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.verification.drill import drill_backup
from django_cfg.backup.services.verification.verify import verify_backup
from tests.support.database_servers import on_every_postgresql
from tests.support.django_project import Site
from tests.support.gnupg_home import Laptop
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.sealed_bytes import PASSPHRASE

METHODS = ["passphrase", "public key"]
# In the packets of the key: what says which one it is, what is encrypted with it, and how.
POSITIONS = [0, 1, 3, 5, 8, 11, 14, 20, 40]


@pytest.fixture(params=METHODS)
def sealed(request: pytest.FixtureRequest, site: Site, books: Path, laptop: Laptop) -> Manifest:
    return seal(site, request.param, laptop, request)


def seal(site: Site, method: str, laptop: Laptop, request: pytest.FixtureRequest) -> Manifest:
    if method == "public key":
        request.getfixturevalue("monkeypatch").setenv("GNUPGHOME", str(laptop.home.folder))
    site.configure(encryption_key=PASSPHRASE if method == "passphrase" else laptop.public)
    return site.create()


def flip(site: Site, manifest: Manifest, position: int) -> None:
    archive = site.backups / manifest.archive_key
    content = bytearray(archive.read_bytes())
    content[position] ^= 4
    archive.write_bytes(content)


def fail_unless_disproved(site: Site, *options: str) -> None:
    answer = site.call("backup_verify", "latest", "--drill", *options)
    assert answer.code == 1
    assert "SHA-256 differs" in answer.stderr
    (proof,) = read_catalog(current_project().storage).proofs.values()
    assert not proof.succeeded
    assert "it was damaged or replaced" in proof.differences[0]


@pytest.mark.parametrize(("position", "options"), list(zip(POSITIONS, cycle([(), ("--trust-storage",)]), strict=False)))
def test_a_drill_keeps_a_failed_proof(site: Site, sealed: Manifest, position: int, options: tuple[str, ...]) -> None:
    flip(site, sealed, position)
    fail_unless_disproved(site, *options)
    assert "the drill of" in site.call("backup_status").stderr


@pytest.mark.parametrize("position", POSITIONS[2::3])
def test_reading_finds_it(site: Site, sealed: Manifest, position: int, tmp_path: Path) -> None:
    """Whatever opens the archive first names the command that compares it; a copy as stored is compared anyway."""
    flip(site, sealed, position)
    before = site.content()
    for command in (
        ("backup_restore", sealed.name, "--yes"),
        ("backup_restore", sealed.name, "--yes", "--trust-storage"),
        ("backup_download", sealed.name, "--plain", "--to", str(tmp_path / "plain")),
    ):
        answer = site.call(*command)
        assert answer.code == 1
        assert "damaged" in answer.stderr
        is_about_keys = "does not" in answer.stderr or "could not be unlocked" in answer.stderr
        assert is_about_keys == (f"`backup_verify {sealed.name}` compares" in answer.stderr)
    assert site.content() == before
    for command in (("backup_verify", sealed.name), ("backup_download", sealed.name, "--to", str(tmp_path / "copy"))):
        assert "SHA-256 differs" in site.call(*command).stderr
    with pytest.raises(VerificationFailed, match="SHA-256 differs"):
        verify_backup()
    assert [path for path in tmp_path.glob("*/*") if path.parent.name in ("plain", "copy")] == []


@on_every_postgresql
@pytest.mark.parametrize("options", [(), ("--trust-storage",)])
@pytest.mark.parametrize("method", METHODS)
def test_a_drill_on_a_server_too(
    postgresql_server: PostgreSQLServer,
    laptop: Laptop,
    request: pytest.FixtureRequest,
    method: str,
    options: tuple[str, ...],
) -> None:
    site = postgresql_server.site
    flip(site, seal(site, method, laptop, request), 5)
    fail_unless_disproved(site, *options)


def test_a_wrong_key_is_no_fault_of_the_backup(site: Site, sealed: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was learned: there is no proof."""
    monkeypatch.setenv("GNUPGHOME", str(site.root / "none"))
    site.configure(encryption_key="another passphrase, as long")
    with pytest.raises(EncryptionError):
        drill_backup(trust_storage=True)
    assert read_catalog(current_project().storage).proofs == {}
