"""Entries of an archive that cannot be restored without roles that the server does not have.

Owners and privileges can be left to the one who restores; a policy and a user mapping name their roles themselves.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django_cfg.backup.engines.postgresql.pg_restore import OpenedArchive

_MAPPING = re.compile(r"\d+; \d+ \d+ USER MAPPING - USER MAPPING (?P<user_and_more>.*)")
_POLICY_LINE = re.compile(rb"\d+; \d+ \d+ POLICY ")
_NAME = r'(?:"(?:[^"]|"")*"|[^\s",;.]+)'
_POLICY = re.compile(
    rf"CREATE POLICY (?P<name>{_NAME}) ON (?:{_NAME}\.)?(?P<table>{_NAME})(?: AS RESTRICTIVE)?(?: FOR \w+)?"
    rf" TO (?P<roles>{_NAME}(?:, {_NAME})*)"
)


@dataclass(frozen=True)
class LeftOut:
    """Entries that are not restored: their lines in the table of contents, and what they are, in words."""

    lines: Collection[bytes] = ()
    told: Sequence[str] = ()


def naming(missing_roles: Sequence[str], archive: OpenedArchive) -> LeftOut:
    """The entries of *archive* that name one of *missing_roles*, with the comments on them."""
    if not missing_roles:
        return LeftOut()
    lines: list[bytes] = []
    told: list[str] = []
    for line in archive.contents.listed.split(b"\n"):
        if what := _mapping(line, missing_roles):
            lines.append(line)
        elif policy := _policy(line, missing_roles, archive):
            what = f"the policy {policy}"
            comment = f" POLICY {policy} ".encode()
            lines += [
                line,
                *(one for one in archive.contents.listed.split(b"\n") if b" COMMENT " in one and comment in one),
            ]
        told += [what] if what else []
    return LeftOut(lines, told)


def _mapping(line: bytes, roles: Sequence[str]) -> str:
    found = _MAPPING.match(line.decode(errors="replace"))
    named = [role for role in roles if found and found["user_and_more"].startswith(f"{role} SERVER ")]
    return f"the user mapping of {named[0]}" if named else ""


def _policy(line: bytes, roles: Sequence[str], archive: OpenedArchive) -> str:
    """``name ON table``, as the archive writes it; empty when it is none, or names none of *roles*."""
    if not _POLICY_LINE.match(line):
        return ""
    found = _POLICY.search(archive.statement(line).decode(errors="replace"))
    named = {_unquoted(name) for name in re.findall(_NAME, found["roles"])} if found else set()
    return f"{found['name']} ON {found['table']}" if found and named & set(roles) else ""


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
