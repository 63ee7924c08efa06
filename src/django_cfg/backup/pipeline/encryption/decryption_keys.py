"""What opens an encrypted backup: what the configuration knows, and what the caller brings along."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from django_cfg.backup.config.backup import BackupConfig
from django_cfg.backup.config.encryption_key import Passphrase, parse_encryption_key
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys


@dataclass(frozen=True)
class DecryptionKey:
    """What the caller brings along.

    :param private_key: the file of an exported private key; None: the user's keyring has it.
    :param passphrase: of that key; for a backup that was made with a passphrase, that one, tried first.
    """

    private_key: Path | None = None
    passphrase: str | None = field(default=None, repr=False)


NO_KEY = DecryptionKey()  # only what is configured


def decryption_keys(config: BackupConfig, decryption_key: DecryptionKey = NO_KEY) -> DecryptionKeys:
    """All that may open a backup of *config*, in the order it is tried."""
    brought = [decryption_key.passphrase] if decryption_key.passphrase else []
    key = parse_encryption_key(config.encryption_key) if config.encryption_key is not None else None
    current = [key.text] if isinstance(key, Passphrase) else []
    passphrases = tuple(dict.fromkeys([*brought, *current, *config.decryption_keys]))
    return DecryptionKeys(passphrases, decryption_key.private_key, decryption_key.passphrase)
