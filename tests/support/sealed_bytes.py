"""Sealing and opening some bytes, as the pipeline does."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

from django_cfg.backup.manifest import Encryption
from django_cfg.backup.pipeline.encryption.decrypt import decrypt
from django_cfg.backup.pipeline.encryption.encrypt import open_encryptor
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from tests.support.processes import is_running

PASSPHRASE = "correct horse battery staple"


def seal(plain: bytes, encryption_key: str = PASSPHRASE) -> tuple[bytes, Encryption]:
    """Return the stored bytes of *plain*, and their entry in the manifest."""
    sink = io.BytesIO()
    with open_encryptor(encryption_key) as encryptor:
        with encryptor.into(sink) as writer:
            writer.write(plain)
        return sink.getvalue(), encryptor.facts


def unseal(sealed: bytes, facts: Encryption, keys: DecryptionKeys, at_once: int = 65536) -> bytes:
    content = b""
    with decrypt(io.BytesIO(sealed), facts, keys) as plain:
        while block := plain.read(at_once):
            content += block
    return content


def processes_in(folder: Path) -> list[str]:
    """The command lines of running processes that name *folder*: an agent of a home in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            line = path.read_text().replace("\0", " ")
            if str(folder) in line and is_running(int(path.parent.name)):
                found.append(line)
    return found
