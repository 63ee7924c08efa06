"""No secret shows anywhere: neither in success nor in any failure, on any engine, on any storage."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from django_cfg import BackupConfig
from django_cfg.backup import Unlock, create_backup, restore_backup
from tests.backup.engines.canaries import Canaries, watching
from tests.backup.engines.postgresql_server import PostgreSQLServer
from tests.backup.engines.secrets_scene import ENGINES, STORAGES, Scene
from tests.backup.gnupg import Home, Laptop
from tests.backup.running import wait_until
from tests.sites import Site


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture(params=STORAGES)
def scene(
    request: pytest.FixtureRequest, site: Site, canaries: Canaries, engine: str, laptop: Laptop, server_home: Home,
    temporary: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> Iterator[Scene]:  # fmt: skip
    """After the test everything is searched."""
    caplog.set_level(logging.DEBUG)
    server = ENGINES[engine](request, canaries)
    with watching(canaries) as watch:
        scene = Scene(site, server, canaries, laptop, temporary, watch, STORAGES[request.param](site))
        scene.configure()
        yield scene
    scene.close()
    assert scene.finds(caplog, capfd) == []
    assert watch.started > 0, "no process was seen to be started"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def damage(scene: Scene) -> None:
    (archive,) = (path for path in scene.site.backups.iterdir() if path.suffix == ".gpg")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)


class TestSuccess:
    def test_under_a_passphrase(self, scene: Scene) -> None:
        scene.call("backup_check")
        scene.call("backup_create", "--note", "before the release", "--verbosity=3")
        for command in (
            "backup_list --json", "backup_show latest", "backup_verify", "backup_pin latest",
            "backup_pin latest --unpin", "backup_restore --yes",
            f"backup_download latest --to {scene.site.root / 'stored'}", "backup_delete latest --yes",
        ):  # fmt: skip
            scene.call(*command.split())

    def test_after_a_rotation(self, scene: Scene) -> None:
        scene.configure(encryption_key=scene.canaries.plant("earlier passphrase"))
        create_backup()
        scene.configure()
        scene.call("backup_verify")
        scene.call("backup_restore", "--yes")

    def test_with_a_protected_private_key(self, scene: Scene, canaries: Canaries) -> None:
        secret = canaries.plant("private key's passphrase")
        fingerprint = scene.laptop.home.make(f"canary-{os.urandom(4).hex()}", passphrase=secret)
        scene.configure(encryption_key=scene.laptop.home.public(fingerprint))
        path = scene.private_key(fingerprint, secret)
        scene.call("backup_create")
        scene.call("backup_verify")
        for command in ("backup_verify", "backup_restore --yes"):
            scene.call(*command.split(), f"--private-key={path}", scene.passphrase(secret))
        restore_backup(unlock=Unlock(path, secret))

    def test_no_row_of_an_encrypted_backup_can_be_read(self, scene: Scene) -> None:
        """Neither in the storage nor in what is left of temporary files; without encryption it is found there."""
        rows = Canaries()
        scene.server.run(f"UPDATE author SET name = '{rows.plant('a row')}'")
        places = [scene.site.backups, scene.temporary]
        scene.configure(compression="none")
        create_backup()
        assert rows.in_files(places) == []
        scene.configure(compression="none", encryption_key=None)
        create_backup()
        assert rows.in_files(places)


class TestFailure:
    def test_a_wrong_database_password(self, scene: Scene, canaries: Canaries, engine: str) -> None:
        if engine == "sqlite":
            scene.site.database.unlink()  # it knows no password
        else:
            scene.configure({"connection": {"PASSWORD": canaries.plant("wrong password")}})
        scene.call("backup_create", code=1)
        scene.call("backup_check", code=1)

    @pytest.mark.parametrize("program", ["gpg", "pg_dump"])
    def test_a_tool_that_is_killed(
        self, scene: Scene, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
    ) -> None:
        if program == "pg_dump" and engine != "postgresql":
            program = "gpg"
        programs = tmp_path / "programs"
        if isinstance(scene.server, PostgreSQLServer):
            shutil.copytree(scene.server.server.programs, programs, symlinks=False, copy_function=os.symlink)
        programs.mkdir(exist_ok=True)
        (programs / program).unlink(missing_ok=True)
        version = "--version" if program == "pg_dump" else "--import"
        real = shutil.which(program)
        (programs / program).write_text(f'#!/bin/sh\ncase "$*" in *{version}*) exec {real} "$@";; esac\nkill -9 $$\n')
        (programs / program).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        scene.configure(tools_dir=str(programs))
        scene.call("backup_create", code=1)

    def test_a_storage_that_cannot_be_written(self, scene: Scene) -> None:
        scene.site.backups.write_text("a file where the folder should be")
        scene.call("backup_create", code=1)
        scene.call("backup_check", code=1)

    def test_a_full_disk(self, scene: Scene, small_disk: Path) -> None:
        (small_disk / "filler").write_bytes(bytes(1_040_000))
        storage = {"local_path": str(small_disk), "s3_secret_key": scene.canaries.plant("S3 secret key")}
        scene.configure(storage=storage, compression="none")
        scene.server.run("CREATE TABLE large (content text)", f"INSERT INTO large VALUES ('{'x' * 500_000}')")
        scene.call("backup_create", code=1)

    def test_a_wrong_passphrase(self, scene: Scene, canaries: Canaries) -> None:
        create_backup()
        scene.configure(encryption_key=canaries.plant("another passphrase"))
        scene.call("backup_verify", code=1)
        scene.call("backup_restore", "--yes", code=1)
        scene.call("backup_restore", "--yes", scene.passphrase(canaries.plant("typed passphrase")), code=1)

    def test_a_wrong_passphrase_of_the_private_key(self, scene: Scene, canaries: Canaries) -> None:
        scene.configure(encryption_key=scene.laptop.home.public(scene.laptop.protected))
        create_backup()
        path = scene.private_key(scene.laptop.protected, scene.laptop.PASSPHRASE)
        secret = canaries.plant("typed passphrase")
        scene.call("backup_restore", "--yes", f"--private-key={path}", scene.passphrase(secret), code=1)
        scene.call("backup_restore", "--yes", code=1)

    def test_a_key_that_is_not_fit(self, scene: Scene) -> None:
        scene.configure(encryption_key="A" * 40)
        scene.call("backup_create", code=1)
        scene.call("backup_check", code=1)

    def test_a_damaged_archive(self, scene: Scene) -> None:
        create_backup()
        damage(scene)
        scene.call("backup_verify", code=1)
        scene.call("backup_restore", "--yes", code=1)

    def test_an_unknown_table(self, scene: Scene) -> None:
        scene.configure({"exclude_tables": ["nosuch"]})
        scene.call("backup_create", code=1)
        scene.call("backup_check", code=1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s: {"encryption_key": f" {s}"},
        lambda s: {"encryption_key": f"{s}@example.org"},
        lambda s: {"encryption_key": f"/{s}/{s}"},
        lambda s: {"encryption_key": f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n{s}"},
        lambda s: {"encryption_key": f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n{s}\n-----END PGP PUBLIC KEY BLOCK-----"},
        lambda s: {"decryption_keys": [f"{s}\n{s}"]},
        lambda s: {"decryption_keys": s},
        lambda s: {"encryption_key": s, "compression": s},
        lambda s: {"storage": {"backend": "s3", "s3_secret_key": s}},
        lambda s: {"databases": [{"alias": "default", "connection": {"PASWORD": s}}]},
    ],
)
def test_a_configuration_that_cannot_be_used_tells_no_secret(
    site: Site, canaries: Canaries, wrong: Callable[[str], dict[str, object]]
) -> None:
    """As an exception at start-up, and as what a command says to a dict."""
    parameters = wrong(canaries.plant("secret"))
    with pytest.raises(ValidationError) as caught:
        BackupConfig(**parameters)  # type: ignore[arg-type]
    site.set(BACKUP=parameters)
    answer = site.call("backup_create")
    assert answer.code == 2
    texts = {"str": str(caught.value), "repr": repr(caught.value), "errors": repr(caught.value.errors())}
    assert canaries.in_texts(texts | {"stdout": answer.stdout, "stderr": answer.stderr}) == []


class TestTheSearchItself:
    """It can fail: a secret that does show is found."""

    def test_on_a_command_line(self, canaries: Canaries) -> None:
        """Of a child, and of a child's child, which is not started by us."""
        secret = canaries.plant("secret")
        with watching(canaries) as watch:
            subprocess.run(["true", secret], check=True)
            assert watch.finds == {"secret in the arguments of true"}
            inner = subprocess.Popen(["sh"], stdin=subprocess.PIPE, text=True)
            with inner:
                assert inner.stdin
                inner.stdin.write(f"sh -c 'read line' {secret}\n")
                inner.stdin.flush()
                wait_until(lambda: any("the command line of" in find for find in watch.finds))

    def test_in_a_file_and_in_a_text(self, canaries: Canaries, tmp_path: Path) -> None:
        secret = canaries.plant("secret")
        (tmp_path / "left over").write_text(f"x{secret}x")
        (tmp_path / secret).touch()
        assert len(canaries.in_files([tmp_path])) == 2
        assert canaries.in_texts({"the log": f"password={secret}", "stdout": "nothing"}) == ["secret in the log"]
