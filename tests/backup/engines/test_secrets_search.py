"""A configuration that cannot be used shows no secret; and the search for secrets finds one that shows."""

from __future__ import annotations

import logging
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from django_cfg import BackupConfig
from tests.support.canaries import Canaries, listening, watching
from tests.support.django_project import Site
from tests.support.processes import wait_until


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
def test_a_configuration_that_cannot_be_used_shows_no_secret(
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

    @pytest.mark.parametrize("before", ["", "u", "us", "user:"])
    def test_in_base64(self, canaries: Canaries, before: str) -> None:
        coded = b64encode(f"{before}{canaries.plant('secret')}:".encode()).decode()
        assert canaries.in_text("a header", f"Authorization: Basic {coded}") == ["secret in a header"]

    def test_in_a_log(self, canaries: Canaries) -> None:
        """At any level, in any phase of a test, by any thread; also in what a message leaves out."""
        secret = canaries.plant("secret")
        with listening() as log:
            logging.getLogger("django").debug("logging in", extra={"password": secret})
            assert canaries.in_text("the log", log.text)
            log.text = ""
            thread = threading.Thread(target=lambda: logging.getLogger("any").debug("as %s", secret))
            thread.start()
            thread.join()
            assert canaries.in_text("the log", log.text)
