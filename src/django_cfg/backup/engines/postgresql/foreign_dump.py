"""A dump in pg_dump's custom format that another run of pg_dump made: what it says of itself, is it complete?"""

from __future__ import annotations

from collections.abc import Iterator

from django_cfg.backup.engines.base import ForeignDump
from django_cfg.backup.engines.postgresql.custom_format import read_contents
from django_cfg.backup.engines.postgresql.pg_restore import check_archive
from django_cfg.backup.engines.postgresql.tools import choose_tools, parse_major
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.manifest import EngineFacts
from django_cfg.backup.pipeline.stream import PeekableReader, Readable, blocks


def examine_foreign(plain: Readable, name: str, tools_dir: str | None) -> ForeignDump:
    """Read the dump *name* to its end.

    :raises VerificationFailed: it is not complete.
    :raises RestoreRefused: it does not define the tables whose rows it holds, or has none.
    """
    source, head = PeekableReader(plain), list[bytes]()
    contents = read_contents(_kept(source, head), name)
    source.give_back(b"".join(head))
    if not contents.tables or not contents.filled:
        lacks = "the definition of no table" if not contents.tables else "the rows of no table"
        raise RestoreRefused(
            f"{name} holds {lacks} (pg_dump --data-only or --schema-only makes such a dump): alone it restores no "
            "database. Restore it by hand together with its other part, and back that database up with backup_create."
        )
    tool_version = contents.tool_version.partition(" ")[0]
    tools = choose_tools(parse_major(tool_version), tools_dir, f"To read {name}")
    check_archive(source, tools, name)
    facts = EngineFacts(
        vendor="postgresql",
        server_version=contents.server_version.partition(" ")[0],
        tool="pg_dump",
        tool_version=tool_version,
        format="pgdump",
        roles=tuple(sorted(contents.roles)),
    )
    return ForeignDump(facts, frozenset(contents.filled))


def _kept(source: Readable, head: list[bytes]) -> Iterator[bytes]:
    for block in blocks(source):
        head.append(block)
        yield block
