"""ASCII armour of OpenPGP keys (RFC 4880, section 6): what can be known of a block without gpg."""

from __future__ import annotations

import base64
import binascii
import re

PUBLIC, PRIVATE = "PUBLIC KEY BLOCK", "PRIVATE KEY BLOCK"

_BEGIN = re.compile(r"^-----BEGIN PGP (?P<kind>[A-Z ]+)-----$", re.MULTILINE)
_BLOCK = re.compile(r"^-----BEGIN PGP (?P<kind>[A-Z ]+)-----\n(?P<body>.*?)^-----END PGP (?P=kind)-----$", re.M | re.S)
_PUBLIC_KEY_PACKET = 6


def is_armored(text: str) -> bool:
    """Return True if *text* is meant to hold a block, intact or not."""
    return "-----BEGIN PGP" in text or "-----END PGP" in text


def public_keys(text: str) -> tuple[str, ...]:
    """Return the public key blocks in *text*, each intact; the text between them is ignored.

    :raises ValueError: a block is broken, or of another kind.
    """
    text = "\n".join(line.strip() for line in text.splitlines())
    kinds = [match["kind"] for match in _BEGIN.finditer(text)]
    if PRIVATE in kinds:
        raise ValueError(
            "it holds a private key, which must not lie on the server that makes the backups: "
            "give the public one (gpg --armor --export)"
        )
    if foreign := [kind for kind in kinds if kind != PUBLIC]:
        raise ValueError(f"it holds a PGP {foreign[0]}, and a PGP {PUBLIC} is wanted (gpg --armor --export)")
    found = list(_BLOCK.finditer(text))
    if not found or len(found) != len(kinds) or len(found) != text.count("-----END PGP"):
        raise ValueError(
            f"its PGP {PUBLIC} is not complete: it runs from its BEGIN line to its END line, and its line breaks count"
        )
    for match in found:
        _require_public_key(_decoded(match["body"]))
    return tuple(f"{match[0]}\n" for match in found)


def _decoded(body: str) -> bytes:
    """The bytes of a block, whose checksum - newer programs leave it out - has to fit.

    :raises ValueError: they are not intact.
    """
    lines = body.split("\n")
    if "" in lines[:-1]:
        lines = lines[lines.index("") + 1 :]  # behind the armour's headers
    text = "".join(lines)
    data, equals, checksum = text, "", ""
    if match := re.search(r"(?<=[A-Za-z0-9+/=])=([A-Za-z0-9+/]{4})$", text):
        data, equals, checksum = text[: match.start()], "=", match[1]
    try:
        content = base64.b64decode(data, validate=True)
        intact = not equals or _crc24(content) == int.from_bytes(base64.b64decode(checksum, validate=True))
    except binascii.Error:
        intact = False
    if not intact:
        raise ValueError(f"a PGP {PUBLIC} in it is damaged (its checksum or its letters): export it again")
    return content


def _require_public_key(content: bytes) -> None:
    """
    :raises ValueError: the first packet is something else.
    """
    first = content[0] if content else 0
    tag = first & 0x3F if first & 0x40 else (first & 0x3C) >> 2
    if not first & 0x80 or tag != _PUBLIC_KEY_PACKET:
        raise ValueError(f"a PGP {PUBLIC} in it does not begin with a public key: export it again")


def _crc24(content: bytes) -> int:
    """The checksum of the armour (RFC 4880, section 6.1)."""
    crc = 0xB704CE
    for byte in content:
        crc ^= byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc & 0xFFFFFF
