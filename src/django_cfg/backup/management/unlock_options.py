"""The arguments that open an encrypted backup, and asking for what they leave out."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from getpass import getpass
from pathlib import Path

from django_cfg.backup.errors import UsageError
from django_cfg.backup.pipeline.encryption.decryption_keys import DecryptionKey
from django_cfg.backup.pipeline.encryption.keyring import is_locked

_LONGEST = 4096  # bytes read for a passphrase; gpg takes far fewer


def add_unlock_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--private-key", metavar="FILE", help="The private key of an encrypted backup; default: the user's keyring."
    )
    parser.add_argument(
        "--passphrase-fd",
        type=int,
        metavar="N",
        help="Read the passphrase - of the private key, or of the backup - from file descriptor N, one line.",
    )


def read_decryption_key(private_key: str | None, passphrase_fd: int | None) -> DecryptionKey:
    """What the arguments name; the passphrase of a locked key is asked for at a terminal.

    :raises UsageError: the file or the descriptor cannot be read.
    """
    path = Path(private_key) if private_key else None
    if passphrase_fd is not None:
        return DecryptionKey(path, _read(passphrase_fd))
    if path and sys.stdin.isatty() and is_locked(path):
        return DecryptionKey(path, getpass(f"Passphrase of {path}: "))
    return DecryptionKey(path)


def _read(descriptor: int) -> str:
    """The first line of what *descriptor* gives."""
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as source:
            line = source.readline(_LONGEST)
        return line.decode().rstrip("\r\n")
    except (OSError, ValueError):
        raise UsageError(
            f"--passphrase-fd {descriptor}: no text can be read there. In a shell: --passphrase-fd 3 3< FILE"
        ) from None
