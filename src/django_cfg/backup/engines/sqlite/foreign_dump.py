"""A database file that this package did not copy: what its header says of it."""

from __future__ import annotations

from django_cfg.backup.engines.base import ForeignDump
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.manifest import EngineFacts

# https://sqlite.org/fileformat.html#the_database_header
HEADER = 100  # bytes
_VERSION = slice(96, 100)


def read_header(head: bytes, name: str) -> ForeignDump:
    """
    :raises VerificationFailed: *head* is shorter than a header.
    """
    if len(head) < HEADER:
        raise VerificationFailed(f"{name} is cut short: it has {len(head)} bytes, less than the header of SQLite.")
    number = int.from_bytes(head[_VERSION], "big")
    version = f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}" if number else "3"
    return ForeignDump(
        EngineFacts(vendor="sqlite", server_version=version, tool="SQLite", tool_version=version, format="sqlite3")
    )
