"""The gpg program as a child process: secrets through a pipe, answers from its status lines, never from its prose."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django_cfg.backup.errors import ToolFailed, ToolNotFound
from django_cfg.backup.process.child import Child, Feeder

_STATUS = "[GNUPG:] "
# No network, no terminal, no web of trust: the configuration says whose key it is.
_ALWAYS = (
    "--batch",
    "--no-tty",
    "--quiet",
    "--no-auto-key-locate",
    "--disable-dirmngr",
    "--no-auto-check-trustdb",
    "--trust-model=always",
)
_FROM_US = "--pinentry-mode=loopback"  # the passphrase comes from our pipe or not at all


@dataclass(frozen=True)
class GpgResult:
    """The result of one call of gpg."""

    succeeded: bool
    lines: tuple[str, ...]  # of its output, without status lines
    status: tuple[str, ...]  # its status lines, as "NO_SECKEY 0123456789ABCDEF"
    last_words: str  # for the message

    def arguments_of(self, keyword: str) -> list[str]:
        """The arguments of every status line of *keyword*."""
        found = (line.partition(" ") for line in self.status)
        return [arguments for word, _, arguments in found if word == keyword]


def program() -> str:
    """
    :raises ToolNotFound: gpg is not installed.
    """
    found = shutil.which("gpg")
    if found is None:
        raise ToolNotFound(
            "gpg is not installed, or not on the PATH of this process, and encryption needs it: install gnupg."
        )
    return found


@dataclass(frozen=True)
class Gpg:
    """gpg with one home.

    :raises ToolNotFound: from every method, when it is not installed.
    """

    home: Path | None = None  # None: the user's own
    may_start_agent: bool = True  # needed for private keys only

    def argv(self, *arguments: str) -> list[str]:
        home = [f"--homedir={self.home}"] if self.home else []
        agent = [] if self.may_start_agent else ["--no-autostart"]
        return [program(), *home, *_ALWAYS, *agent, *arguments]

    def ask(self, *arguments: str, given: bytes = b"", secret: str | None = None) -> GpgResult:
        """Run gpg to its end, fed with *given*; whatever goes wrong with the keys is in the answer."""
        with (
            secret_pipe(secret) as pipe,
            Feeder(iter([given]), to_the_end=False) as feeder,
            Child(
                self.argv("--status-fd=1", *pipe.arguments, *arguments),
                feed=True,
                pass_fds=pipe.descriptors,
                secrets=pipe.secrets,
            ) as child,
        ):
            feeder.start(child.stdin)
            printed = child.stdout.read().decode(errors="replace").splitlines()
            try:
                child.wait()
                succeeded = True
            except ToolFailed:
                succeeded = False
            return GpgResult(
                succeeded,
                tuple(line for line in printed if not line.startswith(_STATUS)),
                tuple(line.removeprefix(_STATUS) for line in printed if line.startswith(_STATUS)),
                without_status(child.last_words),
            )


@dataclass(frozen=True)
class SecretPipe:
    """How a passphrase reaches gpg: the reading end of a pipe that holds it."""

    arguments: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)


@contextmanager
def secret_pipe(secret: str | None) -> Iterator[SecretPipe]:
    """A pipe that holds *secret* for a program started in the block; None: there is none."""
    if secret is None:
        yield SecretPipe()
        return
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(secret.encode() + b"\n")
        yield SecretPipe((_FROM_US, f"--passphrase-fd={reading}"), (reading,), (secret,))
    finally:
        os.close(reading)


def without_status(words: str) -> str:
    """Return what gpg wrote for people."""
    return "\n".join(line for line in words.splitlines() if not line.startswith(_STATUS))
