"""backup_verify"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from django_cfg.backup.manifest import Manifest
from tests.support.django_project import Site


@pytest.fixture
def two(site: Site, books: Path) -> tuple[Manifest, Manifest]:
    return site.create(), site.create()


def flip(path: Path, position: int = -100) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


def test_good_backups_are_reported_as_good(site: Site, two: tuple[Manifest, Manifest]) -> None:
    """All of the project and environment when none is named, newest first."""
    answer = site.call("backup_verify")
    assert answer.code == 0
    assert answer.stdout == f"{two[1].name}: good\n{two[0].name}: good\n"
    assert site.call("backup_verify", "--json").json == [
        {"name": m.name, "error": None, "unchecked": None, "proof": None} for m in reversed(two)
    ]


def test_only_named_backups_are_read(site: Site, two: tuple[Manifest, Manifest]) -> None:
    flip(site.backups / two[1].archive_key)
    assert site.call("backup_verify", two[0].name).code == 0


def test_a_damaged_backup_is_exit_code_1_and_the_others_are_verified(
    site: Site, two: tuple[Manifest, Manifest]
) -> None:
    """In the document each has its result."""
    flip(site.backups / two[1].archive_key)
    answer = site.call("backup_verify")
    assert answer.code == 1
    assert f"{two[0].name}: good" in answer.stdout
    assert f"{two[1].archive.key} are not those of its manifest" in answer.stderr
    bad, good = site.call("backup_verify", "--json").json
    assert good == {"name": two[0].name, "error": None, "unchecked": None, "proof": None}
    assert bad["name"] == two[1].name
    assert "SHA-256 differs" in bad["error"]


def test_all_damaged_backups_are_listed(site: Site, two: tuple[Manifest, Manifest]) -> None:
    """One with an unreadable manifest is among them."""
    flip(site.backups / two[0].archive_key)
    (site.backups / two[1].key).write_text("{")
    answer = site.call("backup_verify", "--json")
    assert answer.code == 1
    assert {result["name"]: bool(result["error"]) for result in answer.json} == {two[0].name: True, two[1].name: True}
    assert "2 of 2 backups are damaged" in answer.stderr


def test_a_corrupt_database_with_right_digests_is_damage(site: Site, books: Path) -> None:
    """Digests prove that nothing changed since; the format's own check, that it was ever good."""
    site.configure(compression="none")
    manifest = site.create()
    archive = site.backups / manifest.archive_key
    flip(archive, 4096 + 3)  # within the first page of a table
    forged = manifest.model_dump_json(by_alias=True).replace(manifest.archive.sha256, sha256(archive))
    (site.backups / manifest.key).write_text(forged)
    answer = site.call("backup_verify", "latest")
    assert answer.code == 1
    assert manifest.archive.key in answer.stderr


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_rows_that_differ_from_the_manifest_are_damage(site: Site, books: Path) -> None:
    manifest = site.create()
    changed = manifest.model_dump_json(by_alias=True).replace('"name":"book","rows":200', '"name":"book","rows":201')
    (site.backups / manifest.key).write_text(changed)
    answer = site.call("backup_verify", "latest")
    assert answer.code == 1
    assert "book has 200 rows instead of 201" in answer.stderr


def test_nothing_to_verify_is_an_empty_document(site: Site) -> None:
    assert site.call("backup_verify", "--json").json == []


@pytest.mark.parametrize("method", ["gzip", "zstd", "bz2", "xz", "none"])
def test_every_compression_is_verified(site: Site, books: Path, method: str) -> None:
    site.configure(compression=method)
    manifest = site.create()
    assert site.call("backup_verify", "latest").stdout == f"{manifest.name}: good\n"
    flip(site.backups / manifest.archive_key)
    assert site.call("backup_verify", "latest").code == 1
