"""Drills of encrypted backups: on a machine with the private key, and on one without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.backup import drill_backup
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.gnupg_home import Home, Laptop
from tests.support.notification_servers import Mailbox, mail_server, use_mail
from tests.support.sealed_bytes import PASSPHRASE

WANTED = {"enabled": True, "schedule": {"enabled": False}}


@pytest.fixture
def sealed(site: Site, books: Path, laptop: Laptop) -> Manifest:
    site.configure(encryption_key=laptop.public, verification=WANTED, schedule={"enabled": False})
    return site.create()


def is_proved(manifest: Manifest) -> bool:
    return read_catalog(current_project().storage).is_proved(manifest)


def test_a_backup_with_a_passphrase_is_proved(site: Site, books: Path) -> None:
    site.configure(encryption_key=PASSPHRASE)
    manifest = site.create()
    assert drill_backup().proves(manifest)


def test_without_the_private_key_no_proof_is_written(site: Site, sealed: Manifest) -> None:
    """The status says so, and it is no failure of the backup."""
    answer = site.call("backup_status")
    assert answer.code == 0
    assert "cannot be proved here" in answer.stdout
    assert site.call("backup_status", json=True).json["sources"][0]["provable_here"] is False
    answer = site.call("backup_verify", "latest", "--drill")
    assert answer.code == 1
    assert "does not hold the private key" in answer.stderr
    assert read_catalog(current_project().storage).proofs == {}
    assert not list(site.root.glob(".*"))


def test_a_drill_without_the_private_key_is_reported_by_mail(site: Site, sealed: Manifest) -> None:
    with mail_server() as mailbox:
        use_mail(site, mailbox.port)
        site.call("backup_verify", "latest", "--drill")
        assert_mail_names_the_private_key(mailbox)


def assert_mail_names_the_private_key(mailbox: Mailbox) -> None:
    (subject,) = mailbox.subjects()
    assert "could not be made" in subject
    assert "private key" in mailbox.last()


def test_on_a_machine_with_the_private_key_it_is_proved(
    site: Site, sealed: Manifest, laptop: Laptop, tmp_path: Path
) -> None:
    """With the key's file, the settings of the project and the same storage, which receives the proof."""
    key = tmp_path / "private.asc"
    key.write_text(laptop.home.private(laptop.good))
    answer = site.call("backup_verify", "latest", "--drill", "--private-key", str(key), "--json")
    assert answer.code == 0, answer.stderr
    assert answer.json[0]["proof"]["succeeded"] is True
    assert is_proved(sealed)
    shown = site.call("backup_status").stdout
    assert "cannot be proved here" not in shown


def test_a_private_key_in_the_users_keyring_is_found(
    site: Site, sealed: Manifest, laptop: Laptop, server_home: Home
) -> None:
    server_home.run("--import", given=laptop.home.private(laptop.good).encode())
    assert site.call("backup_status", json=True).json["sources"][0]["provable_here"] is True
    assert drill_backup().proves(sealed)


def test_a_public_key_in_the_users_keyring_is_not_enough(
    site: Site, sealed: Manifest, laptop: Laptop, server_home: Home
) -> None:
    server_home.run("--import", given=laptop.public.encode())
    assert site.call("backup_status", json=True).json["sources"][0]["provable_here"] is False
