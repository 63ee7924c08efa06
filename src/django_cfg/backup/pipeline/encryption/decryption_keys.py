"""What opens an encrypted backup: what the configuration knows, and what the caller brings along."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from django_cfg.backup.config.backup import BackupConfig
from django_cfg.backup.config.encryption_key import Passphrase, read
from django_cfg.backup.pipeline.encryption.keyring import Keys


@dataclass(frozen=True)
class Unlock:
    """What the caller brings along.

    :param private_key: the file of an exported private key; None: the user's keyring has it.
    :param passphrase: of that key; for a backup that was made with a passphrase, that one, tried first.
    """

    private_key: Path | None = None
    passphrase: str | None = field(default=None, repr=False)


CONFIGURED = Unlock()  # nothing is brought along


def keys_of(config: BackupConfig, unlock: Unlock = CONFIGURED) -> Keys:
    """All that may open a backup of *config*, in the order it is tried."""
    brought = [unlock.passphrase] if unlock.passphrase else []
    key = read(config.encryption_key) if config.encryption_key is not None else None
    current = [key.text] if isinstance(key, Passphrase) else []
    passphrases = tuple(dict.fromkeys([*brought, *current, *config.decryption_keys]))
    return Keys(passphrases, unlock.private_key, unlock.passphrase)
