"""Decrypting: what opens an archive is found by its first bytes, before the rest is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import NoReturn

from django_cfg.backup.errors import EncryptionError, KeyMissing, ToolFailed, VerificationFailed
from django_cfg.backup.manifest import Encryption
from django_cfg.backup.pipeline.encryption.gpg import Gpg, GpgResult, secret_pipe, without_status
from django_cfg.backup.pipeline.encryption.gpg_home import private_gpg_home
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys, holds_any, keyring, user_home
from django_cfg.backup.pipeline.stream import CheckedReader, Readable, blocks
from django_cfg.backup.process.child import Child, Feeder

_HEAD = 1 << 16  # bytes; holds the packets of a hundred recipients
_OPENED = "PLAINTEXT"


@contextmanager
def decrypt(stored: Readable, encryption: Encryption, keys: DecryptionKeys) -> Iterator[Readable]:
    """Yield a reader of what was encrypted into *stored*. It reports the end only when gpg found all of it intact.

    :raises KeyMissing: nothing that opens it is on this machine.
    :raises EncryptionError: what is here does not open it.
    :raises VerificationFailed: from here or from ``read``: it is damaged.
    """
    if encryption.method == "none":
        yield stored
        return
    head = _head(stored)
    with _opening(head, encryption, keys) as (gpg, secret), _decrypted(gpg, secret, head, stored) as plain:
        yield plain


def require_key(stored: Readable, encryption: Encryption, keys: DecryptionKeys) -> None:
    """Look at the beginning of *stored* alone; raises as :func:`decrypt` does."""
    with _opening(_head(stored), encryption, keys):
        pass


@contextmanager
def _opening(head: bytes, encryption: Encryption, keys: DecryptionKeys) -> Iterator[tuple[Gpg, str | None]]:
    """The gpg and the passphrase that open an archive with this *head*."""
    if encryption.method == "passphrase":
        with private_gpg_home() as home:
            gpg = Gpg(home)
            yield gpg, _fitting(gpg, head, keys)
        return
    with keyring(keys) as found:
        if found is None:
            raise _missing(encryption, keys)
        _try_private_key(found, head, encryption, keys)
        yield found, keys.unlocking


def _fitting(gpg: Gpg, head: bytes, keys: DecryptionKeys) -> str:
    """The passphrase that opens *head*."""
    for passphrase in keys.passphrases:
        answer = _try(gpg, head, passphrase)
        if answer.arguments_of(_OPENED):
            return passphrase
        if not answer.arguments_of("NEED_PASSPHRASE_SYM"):
            _refuse_damage(answer)
    if not keys.passphrases:
        raise EncryptionError(
            "The archive is encrypted with a passphrase, and none is configured: add it to decryption_keys, or give it "
            "with --passphrase-fd."
        )
    number = len(keys.passphrases)
    raise EncryptionError(
        f"{'The passphrase' if number == 1 else f'None of the {number} passphrases'} of encryption_key and "
        f"decryption_keys {'does not open' if number == 1 else 'opens'} the archive: add the one it was made with to "
        "decryption_keys."
    )


def _try_private_key(gpg: Gpg, head: bytes, encryption: Encryption, keys: DecryptionKeys) -> None:
    answer = _try(gpg, head, keys.unlocking, f"--pinentry-mode={keys.pinentry}")
    if answer.arguments_of(_OPENED):
        return
    wanted = [arguments.split()[0] for arguments in answer.arguments_of("ENC_TO")]
    if not wanted:
        _refuse_damage(answer)
    if not holds_any(gpg, wanted):
        raise _missing(encryption, keys)
    raise EncryptionError(
        "The private key that opens the archive is here, and it could not be unlocked"
        f"{_reason(answer)}: give its passphrase with --passphrase-fd, or unlock it in gpg-agent by using it once."
    )


def _try(gpg: Gpg, head: bytes, secret: str | None, *arguments: str) -> GpgResult:
    return gpg.ask(*arguments, "--output=/dev/null", "--yes", "--decrypt", given=head, secret=secret)


def _missing(encryption: Encryption, keys: DecryptionKeys) -> KeyMissing:
    where = keys.private_key or f"the keyring of this user ({user_home()})"
    return KeyMissing(
        f"The archive is encrypted to {', '.join(encryption.recipients)}, and {where} does not hold the private key. "
        "Name the key's file with --private-key, or do this on the machine where it is."
    )


def _refuse_damage(answer: GpgResult) -> NoReturn:
    raise VerificationFailed(
        f"The archive is not a complete OpenPGP message{_reason(answer)}: it is cut short or damaged."
    )


def _reason(answer: GpgResult) -> str:
    """The first of gpg's last words: what follows are consequences."""
    return f" ({answer.last_words.splitlines()[0]})" if answer.last_words else ""


@contextmanager
def _decrypted(gpg: Gpg, secret: str | None, head: bytes, stored: Readable) -> Iterator[Readable]:
    with secret_pipe(secret) as pipe, Feeder(chain([head], blocks(stored)), to_the_end=True) as feeder:
        argv = gpg.argv("--status-fd=2", *pipe.arguments, "--decrypt")
        with Child(argv, feed=True, pass_fds=pipe.descriptors, secrets=pipe.secrets) as child:
            feeder.start(child.stdin)
            yield CheckedReader(child.stdout, lambda: _require_good_end(child, feeder))


def _require_good_end(child: Child, feeder: Feeder) -> None:
    """
    :raises VerificationFailed: gpg did not end well, or what *feeder* reads failed.
    """
    try:
        child.wait()
    except ToolFailed as error:
        if error.tool_exit_code < 0:
            raise EncryptionError(f"Decrypting was cut off: {error}.") from error
        raise VerificationFailed(
            f"The archive cannot be decrypted to its end ({without_status(error.last_words)}): "
            "it is cut short or damaged."
        ) from error
    feeder.finish()


def _head(stored: Readable) -> bytes:
    read: list[bytes] = []
    while (missing := _HEAD - sum(map(len, read))) > 0 and (block := stored.read(missing)):
        read.append(block)
    return b"".join(read)
