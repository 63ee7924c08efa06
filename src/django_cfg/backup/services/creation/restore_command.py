"""The shell command that restores a backup without this package: kept in its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.engines.base import Engine
from django_cfg.backup.manifest import Encryption
from django_cfg.backup.pipeline.compression import UNPACK_COMMAND

_DECRYPT = "gpg --decrypt"


def restore_command(engine: Engine, archives: Sequence[str], compression: Compression, encryption: Encryption) -> str:
    """The engine's command for the files *archives*, decrypted and unpacked on the way into it."""
    unpack = UNPACK_COMMAND[compression]
    if encryption.method == "none":
        return engine.restore_command([f"{unpack} {quote(archive)}" for archive in archives])
    plain = [f"{_DECRYPT} {quote(archive)}" for archive in archives]
    if compression != "none":
        plain = [f"{command} | {unpack} -" for command in plain]  # - is stdin to gzip, zstd, bzip2 and xz alike
    return engine.restore_command(plain)
