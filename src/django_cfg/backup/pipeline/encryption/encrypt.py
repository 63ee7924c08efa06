"""Encrypting: to public keys, by a passphrase, or not at all because nothing was configured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime

from django_cfg.backup.config.encryption_key import Passphrase, parse_encryption_key
from django_cfg.backup.errors import EncryptionError, ToolFailed
from django_cfg.backup.manifest import Encryption
from django_cfg.backup.pipeline.encryption.gpg import Gpg, secret_pipe
from django_cfg.backup.pipeline.encryption.gpg_home import private_gpg_home
from django_cfg.backup.pipeline.encryption.recipients import import_recipients
from django_cfg.backup.pipeline.filter import Filter
from django_cfg.backup.pipeline.stream import Writable

SUFFIX = ".gpg"

# What every gpg since 2.1 opens: RFC 4880, always with its integrity protection (MDC); a key made by
# gpg 2.4 that declares OCB gets that instead from gpg 2.4. The archive is compressed already.
_FORM = ("--rfc4880", "--cipher-algo=AES256", "--compress-algo=none")
# As slow as OpenPGP allows to try passphrases; given, so that gpg does not ask its agent to measure.
_SLOW = ("--s2k-digest-algo=SHA512", "--s2k-count=65011712")


class Encryptor(ABC):
    """Ready to encrypt: all that can be known to stand in the way has been looked at."""

    facts: Encryption
    suffix: str = SUFFIX
    warnings: tuple[str, ...] = ()  # what the operator should know although it works

    @abstractmethod
    def into(self, sink: Writable) -> AbstractContextManager[Writable]:
        """A writer that encrypts into *sink*; leaving the block writes the last bytes.

        :raises EncryptionError: gpg did not come to its end; what is in *sink* is worth nothing.
        """


class Unencrypted(Encryptor):
    """What no ``encryption_key`` comes to."""

    facts = Encryption()
    suffix = ""

    def into(self, sink: Writable) -> AbstractContextManager[Writable]:
        return nullcontext(sink)


UNENCRYPTED = Unencrypted()


class _GpgEncryptor(Encryptor):
    def __init__(
        self,
        gpg: Gpg,
        facts: Encryption,
        arguments: tuple[str, ...],
        secret: str | None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.facts, self.warnings = facts, warnings
        self._gpg, self._arguments, self._secret = gpg, (*_FORM, *arguments), secret

    @contextmanager
    def into(self, sink: Writable) -> Iterator[Writable]:
        with secret_pipe(self._secret) as pipe:
            argv = self._gpg.argv(*pipe.arguments, *self._arguments)
            writer = Filter(argv, sink, pass_fds=pipe.descriptors, secrets=pipe.secrets)
        try:
            with writer:
                yield writer
        except ToolFailed as error:
            if error.tool != "gpg":
                raise
            raise EncryptionError(f"Encrypting failed: {error}. Nothing was stored.") from error

    def try_out(self) -> None:
        """Encrypt nothing, before anything is dumped: gpg has the last word on its keys.

        :raises EncryptionError: gpg refused.
        """
        with self.into(_Nowhere()) as writer:
            writer.write(b"")


class _Nowhere:
    def write(self, block: bytes) -> int:
        return len(block)


@contextmanager
def open_encryptor(encryption_key: str | None) -> Iterator[Encryptor]:
    """What encrypts as *encryption_key* of the configuration says, while the block runs.

    :raises EncryptionError: nothing can be encrypted with it.
    :raises ToolNotFound: gpg is not installed.
    """
    if encryption_key is None:
        yield UNENCRYPTED
        return
    with private_gpg_home() as home:
        encryptor = _encryptor(Gpg(home, may_start_agent=False), encryption_key)
        encryptor.try_out()
        yield encryptor


def _encryptor(gpg: Gpg, encryption_key: str) -> _GpgEncryptor:
    key = parse_encryption_key(encryption_key)
    if isinstance(key, Passphrase):
        return _GpgEncryptor(gpg, Encryption(method="passphrase"), ("--symmetric", *_SLOW), key.text)
    recipients = import_recipients(gpg, key)
    fingerprints = tuple(recipient.fingerprint for recipient in recipients)
    now = datetime.now(UTC)
    return _GpgEncryptor(
        gpg,
        Encryption(method="public-key", recipients=fingerprints),
        ("--encrypt", *(f"--recipient={fingerprint}" for fingerprint in fingerprints)),
        None,
        tuple(filter(None, (recipient.warning(now) for recipient in recipients))),
    )
