"""The shell command that restores an archive without this package: kept in its manifest."""

from __future__ import annotations

from shlex import quote

from django_cfg.backup.config.backup import Compression
from django_cfg.backup.engines.base import Engine
from django_cfg.backup.manifest import Encryption
from django_cfg.backup.pipeline.compression import UNPACK_COMMAND

_DECRYPT = "gpg --decrypt"
_STDIN = "-"  # to gzip, zstd, bzip2 and xz alike


def restore_command(engine: Engine, archive: str, compression: Compression, encryption: Encryption) -> str:
    """The engine's command for *archive*, decrypted and unpacked on the way into it."""
    unpack = UNPACK_COMMAND[compression]
    if encryption.method == "none":
        return engine.restore_command(unpack, archive)
    if compression == "none":
        return engine.restore_command(_DECRYPT, archive)
    return engine.restore_command(f"{_DECRYPT} {quote(archive)} | {unpack}", _STDIN)
