"""No secret shows anywhere: neither in success nor in any failure, on any engine, on any storage."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

from django_cfg.backup import DecryptionKey, create_backup, restore_backup
from tests.support.canaries import Canaries
from tests.support.mysql_databases import MySQLServer
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.secrets_places import ALL, ENGINES_ALONE, STORAGES_ALONE, on
from tests.support.secrets_scene import Scene


def damage(scene: Scene) -> None:
    (archive,) = (path for path in scene.place.folder.iterdir() if path.suffix == ".gpg")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)


class TestSuccess:
    @on(ALL)
    def test_of_every_command(self, scene: Scene) -> None:
        """The tick claims the slot of last night, which no run has served."""
        scene.call("backup_check", "--notify")
        for command in (
            "backup_tick --json", "backup_check --json", "backup_create --note=release --verbosity=3",
            "backup_create --json", "backup_list", "backup_list --json", "backup_show latest",
            "backup_show latest --json", "backup_verify", "backup_verify --json", "backup_verify latest --drill",
            "backup_verify latest --drill --json", "backup_status", "backup_status --json",
            "backup_pin latest", "backup_pin latest --unpin",
            "backup_restore --yes", "backup_restore --yes --to empty --json", "backup_status",
            "backup_prune --yes", "backup_prune --dry-run --json",
            f"backup_download latest --to {scene.site.root / 'stored'}", "backup_delete latest --yes --force",
        ):  # fmt: skip
            scene.call(*command.split())
        assert len(scene.mailbox.mails) > 2
        assert len(scene.web.requests) > 4

    def test_after_a_rotation(self, scene: Scene) -> None:
        scene.configure(encryption_key=scene.canaries.plant("earlier passphrase"))
        create_backup()
        scene.configure()
        scene.call("backup_verify")
        scene.call("backup_restore", "--yes")

    @on(["sqlite local"])
    def test_with_a_protected_private_key(self, scene: Scene, canaries: Canaries) -> None:
        secret = canaries.plant("private key's passphrase")
        fingerprint = scene.laptop.home.make(f"canary-{os.urandom(4).hex()}", passphrase=secret)
        scene.configure(encryption_key=scene.laptop.home.public(fingerprint))
        path = scene.private_key(fingerprint, secret)
        scene.call("backup_create")
        scene.call("backup_verify")
        for command in ("backup_verify", "backup_verify latest --drill", "backup_restore --yes"):
            scene.call(*command.split(), f"--private-key={path}", scene.passphrase(secret))
        restore_backup(decryption_key=DecryptionKey(path, secret))

    def test_no_row_of_an_encrypted_backup_can_be_read(self, scene: Scene) -> None:
        """Neither in the storage nor in what is left of temporary files; without encryption it is found there."""
        rows = Canaries()
        scene.server.run(f"UPDATE author SET name = '{rows.plant('a row')}'")
        places = [scene.place.folder, scene.temporary]
        scene.configure(compression="none")
        create_backup()
        assert rows.in_files(places) == []
        scene.configure(compression="none", encryption_key=None)
        create_backup()
        assert rows.in_files(places)


class TestFailure:
    @on(ENGINES_ALONE)
    def test_a_wrong_database_password(self, scene: Scene, canaries: Canaries, engine: str) -> None:
        if engine == "sqlite":
            scene.site.database.unlink()  # it knows no password
        else:
            scene.configure({"connection": {"PASSWORD": canaries.plant("wrong password")}})
        for command in ("backup_create", "backup_create --json", "backup_check --json", "backup_tick --json"):
            scene.call(*command.split(), code=1)

    @on(["postgresql local", "mysql local"])
    def test_a_database_that_the_site_cannot_use_either(self, scene: Scene, canaries: Canaries) -> None:
        """The history is out of reach then, and is not written."""
        assert isinstance(scene.server, PostgreSQLServer | MySQLServer)
        scene.server.use(USER=settings.DATABASES["default"]["USER"], PASSWORD=canaries.plant("wrong password"))
        scene.configure({"connection": {}})
        scene.call("backup_create", "--json", code=1)
        scene.call("backup_tick", "--json", code=1)

    @on(ENGINES_ALONE)
    def test_a_storage_that_cannot_be_written(self, scene: Scene) -> None:
        scene.site.backups.write_text("a file where the folder should be")
        for command in ("backup_create", "backup_check --json", "backup_list --json", "backup_status --json"):
            scene.call(*command.split(), code=1)

    @on(ENGINES_ALONE)
    def test_a_full_disk(self, scene: Scene, small_disk: Path) -> None:
        (small_disk / "filler").write_bytes(bytes(1_040_000))
        scene.configure(storage={**scene.place.parameters, "local_path": str(small_disk)}, compression="none")
        scene.server.run("CREATE TABLE large (content text)", f"INSERT INTO large VALUES ('{'x' * 60_000}')")
        scene.call("backup_create", code=1)

    def test_a_wrong_passphrase(self, scene: Scene, canaries: Canaries) -> None:
        create_backup()
        scene.configure(encryption_key=canaries.plant("another passphrase"))
        for command in ("backup_verify", "backup_verify latest --drill --json", "backup_restore --yes --json"):
            scene.call(*command.split(), code=1)
        scene.call("backup_restore", "--yes", scene.passphrase(canaries.plant("typed passphrase")), code=1)

    @on(STORAGES_ALONE)
    def test_a_wrong_passphrase_of_the_private_key(self, scene: Scene, canaries: Canaries) -> None:
        scene.configure(encryption_key=scene.laptop.home.public(scene.laptop.protected))
        create_backup()
        path = scene.private_key(scene.laptop.protected, scene.laptop.PASSPHRASE)
        secret = canaries.plant("typed passphrase")
        scene.call("backup_restore", "--yes", f"--private-key={path}", scene.passphrase(secret), code=1)
        scene.call("backup_restore", "--yes", code=1)

    @on(STORAGES_ALONE)
    def test_a_key_that_is_not_fit(self, scene: Scene) -> None:
        scene.configure(encryption_key="A" * 40)
        scene.call("backup_create", code=1)
        scene.call("backup_check", code=1)

    def test_a_damaged_archive(self, scene: Scene) -> None:
        create_backup()
        damage(scene)
        for command in ("backup_verify --json", "backup_verify latest --drill", "backup_restore --yes"):
            scene.call(*command.split(), code=1)
        scene.call("backup_status", "--json", code=4)

    def test_an_unknown_table(self, scene: Scene) -> None:
        scene.configure({"exclude_tables": ["nosuch"]})
        scene.call("backup_create", code=1)
        scene.call("backup_check", code=1)

    @on(ENGINES_ALONE)
    def test_a_password_among_the_extra_options(self, scene: Scene, canaries: Canaries) -> None:
        """It is refused there, and not repeated."""
        for option in ("--password={}", "-p{}"):
            scene.configure({"extra_options": [option.format(canaries.plant("extra option"))]})
            scene.call("backup_create", code=1)
            scene.call("backup_check", "--json", code=1)

    @on(ENGINES_ALONE)
    def test_a_query_that_the_restored_data_fails(self, scene: Scene) -> None:
        scene.configure({"verification_queries": ["SELECT nonsense FROM nowhere"]})
        create_backup()
        scene.call("backup_verify", "latest", "--drill", "--json", code=1)
        scene.call("backup_restore", "--yes", code=1)

    @on(["sqlite local"])
    def test_a_queue_that_cannot_be_reached(self, scene: Scene, canaries: Canaries) -> None:
        scene.site.set(RQ_QUEUES={"default": {"URL": f"redis://:{canaries.plant('Redis password')}@127.0.0.1:1/0"}})
        scene.call("backup_tick", "--json", code=1)
