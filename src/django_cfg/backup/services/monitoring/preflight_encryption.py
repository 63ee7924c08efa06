"""Checking that backups can be encrypted and, where their keys are, decrypted: with a probe."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

from django_cfg.backup.config.backup import BackupConfig
from django_cfg.backup.engines.base import Finding, Level
from django_cfg.backup.errors import EncryptionError, KeyMissing, VerificationFailed
from django_cfg.backup.pipeline.encryption.decrypt import decrypt
from django_cfg.backup.pipeline.encryption.decryption_keys import decryption_keys
from django_cfg.backup.pipeline.encryption.encrypt import Encryptor, open_encryptor

_SUBJECT = "encryption"
_PROBE = b"encrypted by backup_check, and thrown away\n"


def check_encryption(config: BackupConfig) -> Iterator[Finding]:
    """
    :raises BackupError: nothing can be encrypted, or it cannot be decrypted again.
    """
    if config.encryption_key is None:
        return
    with open_encryptor(config.encryption_key) as encryptor:
        sealed = _sealed(encryptor)
        for warning in encryptor.warnings:
            yield Finding(Level.WARNING, _SUBJECT, warning)
        yield Finding(
            Level.OK, _SUBJECT, f"{_means(encryptor)}: a probe was encrypted{_opened(config, encryptor, sealed)}"
        )


def _sealed(encryptor: Encryptor) -> bytes:
    sink = io.BytesIO()
    with encryptor.into(sink) as writer:
        writer.write(_PROBE)
    return sink.getvalue()


def _opened(config: BackupConfig, encryptor: Encryptor, sealed: bytes) -> str:
    """How the probe was decrypted, in words.

    :raises VerificationFailed: something else came out.
    """
    keys = replace(decryption_keys(config), may_ask=False)
    try:
        with decrypt(io.BytesIO(sealed), encryptor.facts, keys) as plain:
            found = plain.read() + plain.read()
    except KeyMissing:
        return "; the private key is not on this machine, so restore where it is"
    except EncryptionError:
        if encryptor.facts.method == "passphrase":
            raise
        return "; the private key is on this machine, and locked"
    if found != _PROBE:
        raise VerificationFailed("gpg did not give back what it was given to encrypt. Do not rely on it.")
    return " and decrypted"


def _means(encryptor: Encryptor) -> str:
    facts = encryptor.facts
    return f"to {', '.join(facts.recipients)}" if facts.method == "public-key" else "with a passphrase"
