"""GnuPG homes of the tests: real keys in temporary folders, their agents ended with them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest

from django_cfg.backup.pipeline.encryption import decrypt, encrypt, gpg_home, keyring
from tests.support import needs

# What gpg's agent asks a person by; it answers with what the file of this name in the home holds.
PINENTRY = """\
#!/bin/sh
echo "OK at your service"
while read -r line; do
    case "$line" in
        GETPIN*) printf 'D %s\\n' "$(cat {answer})"; echo OK ;;
        BYE*) echo OK; exit 0 ;;
        *) echo OK ;;
    esac
done
"""
QUICK = "s2k-count 65536"  # of the passphrases of private keys: they are not attacked here
FROM_STDIN = ("--pinentry-mode=loopback", "--passphrase-fd=0")  # no secret on a command line, nor in the tests
LONG_AGO = "20200101T000000"


class Home:
    """A home of gpg on a short path."""

    def __init__(self) -> None:
        needs.program("gpg")
        self.folder = Path(mkdtemp(prefix="gpg-", dir="/tmp"))
        self._answer = self.folder / "answer"
        self._configure(QUICK)

    def run(self, *arguments: str, given: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """gpg as a person would call it, but for its questions."""
        argv = ["gpg", "--batch", "--quiet", *arguments]
        return subprocess.run(argv, env=self.environment, input=given, capture_output=True, check=check, timeout=60)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "GNUPGHOME": str(self.folder)}

    def make(
        self, name: str, *, kind: Sequence[str] = ("future-default", "default", "never"), passphrase: str = "",
        at: str = "",
    ) -> str:  # fmt: skip
        """Make a private key; return its fingerprint."""
        faked = [f"--faked-system-time={at}"] if at else []
        user = f"{name} <{name}@example.org>"
        done = self.run(
            *faked, *FROM_STDIN, "--status-fd=1", "--quick-generate-key", user, *kind, given=_line(passphrase)
        )
        return done.stdout.split()[-1].decode()

    def public(self, *fingerprints: str) -> str:
        return self.run("--armor", "--export", *fingerprints).stdout.decode()

    def private(self, fingerprint: str, passphrase: str = "") -> str:
        given = _line(passphrase)
        return self.run(*FROM_STDIN, "--armor", "--export-secret-keys", fingerprint, given=given).stdout.decode()

    def answer_with(self, passphrase: str) -> None:
        """Answer every prompt for a passphrase with this one."""
        pinentry = self.folder / "pinentry"
        pinentry.write_text(PINENTRY.format(answer=self._answer))
        pinentry.chmod(0o700)
        self._answer.write_text(passphrase)
        self._configure(QUICK, f"pinentry-program {pinentry}")
        self.end_agent()

    def _configure(self, *lines: str) -> None:
        (self.folder / "gpg-agent.conf").write_text("\n".join([*lines, ""]))

    def end_agent(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self.folder, "--kill", "all"], check=True, capture_output=True)

    def remove(self) -> None:
        self.end_agent()
        shutil.rmtree(self.folder, ignore_errors=True)  # the agent removes its sockets at the same time


def make_passphrases_quick(patch: pytest.MonkeyPatch) -> None:
    """Let passphrases be stretched less than gpg and the product would: they are not attacked here."""
    open_home = gpg_home.private_gpg_home

    @contextmanager
    def open_quick_home() -> Iterator[Path]:
        with open_home() as home:
            with suppress(OSError):  # a full disk, as a test has it
                (home / "gpg-agent.conf").write_text(f"{QUICK}\n")
            yield home

    patch.setattr(encrypt, "_SLOW", (f"--{QUICK.replace(' ', '=')}",))
    for module in (encrypt, decrypt, keyring):
        patch.setattr(module, "private_gpg_home", open_quick_home)


def _line(passphrase: str) -> bytes:
    return f"{passphrase}\n".encode()


@dataclass(frozen=True)
class Laptop:
    """Where the private keys are: away from the server. Fingerprints of one good key, and of others."""

    home: Home
    good: str
    recovery: str
    protected: str  # by ``PASSPHRASE``
    PASSPHRASE = "of the private key"

    @classmethod
    def make(cls) -> Laptop:
        home = Home()
        return cls(
            home,
            good=home.make("good"),
            recovery=home.make("recovery"),
            protected=home.make("protected", passphrase=cls.PASSPHRASE),
        )

    @property
    def public(self) -> str:
        return self.home.public(self.good)
