"""Is something an OpenPGP message, and what opens it? By its first packets alone (RFC 4880, section 4 and 5)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from django_cfg.backup.manifest import Encryption

HEAD = 1 << 14  # bytes, in which the packets of the recipients are
_ARMOR = b"-----BEGIN PGP MESSAGE-----"
_FOR_KEY, _FOR_PASSPHRASE = 1, 3  # tags of the packets that hold the key of the message
_KEY_ID = slice(1, 9)


def find_encryption(head: bytes) -> Encryption:
    """Return how the message with this *head* was encrypted; method none: it is no OpenPGP message."""
    packets = list(_key_packets(_dearmored(head) if head.startswith(_ARMOR) else head))
    recipients = tuple(body[_KEY_ID].hex().upper() for tag, body in packets if tag == _FOR_KEY)
    if recipients:
        return Encryption(method="public-key", recipients=recipients)
    return Encryption(method="passphrase" if packets else "none")


def _dearmored(head: bytes) -> bytes:
    """Decode the lines between the empty one and the first that is not complete."""
    lines = head.replace(b"\r", b"").partition(b"\n\n")[2].split(b"\n")
    try:
        return b"".join(
            base64.b64decode(line, validate=True) for line in lines[:-1] if not line.startswith((b"=", b"-"))
        )
    except binascii.Error:
        return b""


def _key_packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and body of the packets at the beginning that hold the key of the message."""
    at = 0
    while at + 2 < len(data) and data[at] & 0x80:
        is_new = bool(data[at] & 0x40)
        tag = data[at] & 0x3F if is_new else (data[at] & 0x3C) >> 2
        start, size = _new_length(data, at) if is_new else _old_length(data, at)
        body = data[start : start + size]
        if not _is_key_packet(tag, body):
            return
        yield tag, body
        at = start + size


def _is_key_packet(tag: int, body: bytes) -> bool:
    """By its version too: other formats begin with such a byte by chance."""
    versions = {_FOR_KEY: (3,), _FOR_PASSPHRASE: (4, 5)}
    return body[:1] != b"" and body[0] in versions.get(tag, ())


def _new_length(data: bytes, at: int) -> tuple[int, int]:
    """Return where the body begins, and its size."""
    first = data[at + 1]
    if first < 192:
        return at + 2, first
    return at + 3, ((first - 192) << 8) + data[at + 2] + 192  # longer ones hold no key


def _old_length(data: bytes, at: int) -> tuple[int, int]:
    octets = 1 << (data[at] & 3)
    return at + 1 + octets, int.from_bytes(data[at + 1 : at + 1 + octets], "big")
