"""Entries of an archive that cannot be restored without roles that the server does not have.

Owners and privileges can be left out of a restore; a policy and a user mapping name their roles themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from django_cfg.backup.engines.postgresql.pg_restore import OpenedArchive
from django_cfg.backup.engines.postgresql.schema import unquote_name

_USER_MAPPING = re.compile(r"\d+; \d+ \d+ USER MAPPING - USER MAPPING (?P<user_and_rest>.*)")
_POLICY_LINE = re.compile(rb"\d+; \d+ \d+ POLICY ")
_NAME = r'(?:"(?:[^"]|"")*"|[^\s",;.]+)'
_POLICY = re.compile(
    rf"CREATE POLICY (?P<name>{_NAME}) ON (?:{_NAME}\.)?(?P<table>{_NAME})(?: AS RESTRICTIVE)?(?: FOR \w+)?"
    rf" TO (?P<roles>{_NAME}(?:, {_NAME})*)"
)


def find_entries(archive: OpenedArchive, missing_roles: Sequence[str]) -> dict[bytes, str]:
    """Return the entries of *archive* that name one of *missing_roles*: lines of its contents, and what they are.

    The comments on a policy are entries without a description.
    """
    entries: dict[bytes, str] = {}
    for line in archive.contents.lines if missing_roles else ():
        if user := _find_user(line, missing_roles):
            entries[line] = f"the user mapping of {user}"
        elif policy := _find_policy(line, missing_roles, archive):
            entries[line] = f"the policy {policy}"
            comment = f" POLICY {policy} ".encode()
            entries |= {other: "" for other in archive.contents.lines if b" COMMENT " in other and comment in other}
    return entries


def _find_user(line: bytes, roles: Sequence[str]) -> str | None:
    found = _USER_MAPPING.match(line.decode(errors="replace"))
    return next((role for role in roles if found and found["user_and_rest"].startswith(f"{role} SERVER ")), None)


def _find_policy(line: bytes, roles: Sequence[str], archive: OpenedArchive) -> str:
    """Return ``name ON table``, as the archive has it; empty if *line* is no policy, or one without any of *roles*."""
    if not _POLICY_LINE.match(line):
        return ""
    found = _POLICY.search(archive.read_script([line]).decode(errors="replace"))
    named = {unquote_name(name) for name in re.findall(_NAME, found["roles"])} if found else set()
    return f"{found['name']} ON {found['table']}" if found and named & set(roles) else ""
