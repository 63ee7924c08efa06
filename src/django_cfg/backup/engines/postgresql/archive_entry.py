"""Entries of an archive's table of contents, as ``pg_restore --list`` prints them; and which may be left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from django_cfg.backup.engines.postgresql.archive_script import Contents
from django_cfg.backup.errors import RestoreRefused

# Kinds of more than one word, the longest first; any other kind is one word.
_KINDS = sorted(
    (
        "ACCESS METHOD", "ACL LANGUAGE", "BLOB METADATA", "CHECK CONSTRAINT", "DATABASE PROPERTIES", "DEFAULT ACL",
        "EVENT TRIGGER", "FK CONSTRAINT", "FOREIGN DATA WRAPPER", "FOREIGN TABLE", "INDEX ATTACH", "MATERIALIZED VIEW",
        "MATERIALIZED VIEW DATA", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURAL LANGUAGE", "PUBLICATION TABLE",
        "PUBLICATION TABLES IN SCHEMA", "ROW SECURITY", "SECURITY LABEL", "SEQUENCE OWNED BY", "SEQUENCE SET",
        "SHELL TYPE", "STATISTICS DATA", "SUBSCRIPTION TABLE", "TABLE ATTACH", "TABLE DATA",
        "TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE",
        "USER MAPPING",
    ),
    key=len,
    reverse=True,
)  # fmt: skip
_LINE = re.compile(rf"(?P<number>\d+); \d+ \d+ (?P<kind>{'|'.join(_KINDS)}|[A-Z]+) (?P<rest>.*)", re.DOTALL)
# As in the comment before a statement of pg_restore's script.
HEADING = re.compile(rb"^-- (?:Data for )?Name: (.*?); Type: ([A-Z ]+); Schema: (.*?); Owner: .*$", re.MULTILINE)

# What holds rows, guards them, or gives them their form.
_NEVER_LEFT_OUT = {
    "BLOB", "BLOB METADATA", "BLOBS", "CHECK CONSTRAINT", "CONSTRAINT", "DEFAULT", "FK CONSTRAINT", "ROW SECURITY",
    "SCHEMA", "SEQUENCE", "SEQUENCE OWNED BY", "SEQUENCE SET", "TABLE", "TABLE ATTACH", "TABLE DATA",
}  # fmt: skip
_MAY_FAIL = {
    "ACL", "ACL LANGUAGE", "COMMENT", "DEFAULT ACL", "EVENT TRIGGER", "MATERIALIZED VIEW DATA", "POLICY", "TRIGGER",
}  # fmt: skip
FIRST_PASS, LAST_PASS = 0, 3  # of get_pass
_DEPENDENT = {"ACL", "COMMENT", "SECURITY LABEL"}  # on an object that may have been left out
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_UNDEFINED = ("3F000", "42703", "42704", "42883", "42P01")
_ENVIRONMENT = ("53", "57", "58", "XX")  # no space, a shutdown, a disk, a defect: nothing to leave an object out for


@dataclass(frozen=True)
class ArchiveEntry:
    """One entry."""

    line: bytes  # of the contents
    kind: str
    name: str  # with its schema, without its owner

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def matches(self, start: str) -> bool:
        """Return True if the line, without its numbers, begins with *start*."""
        return self.line.partition(b" ")[2].split(b" ", 2)[-1].startswith(start.encode())

    @property
    def may_be_left_out(self) -> bool:
        return self.kind not in _NEVER_LEFT_OUT

    @property
    def is_extension_comment(self) -> bool:
        """Whether only the owner of an extension may restore it."""
        return self.kind == "COMMENT" and self.name.startswith("EXTENSION ")

    @property
    def may_fail(self) -> bool:
        """Whether --skip-failing includes it."""
        return self.kind in _MAY_FAIL


def parse_entry(line: bytes, roles: Collection[str]) -> ArchiveEntry | None:
    """Return the entry of a *line* of the contents; None for a comment.

    :param roles: known owners. A line ends with an owner, and both it and the name may hold spaces.
    """
    found = _LINE.fullmatch(line.decode(errors="replace"))
    if not found:
        return None
    name = found["rest"].removeprefix("- ")
    owner = max((role for role in roles if name.endswith(f" {role}")), key=len, default=name.rpartition(" ")[2])
    return ArchiveEntry(line, found["kind"], name.removesuffix(f" {owner}"))


def parse_entries(contents: Contents, roles: Collection[str]) -> list[ArchiveEntry]:
    return [entry for line in contents.lines if (entry := parse_entry(line, roles))]


def choose_skipped(entries: Sequence[ArchiveEntry], patterns: Iterable[str]) -> list[ArchiveEntry]:
    """Return the entries that *patterns* name: exactly, or as shell patterns.

    :raises RestoreRefused: one names nothing, or something that no restore may lack.
    """
    chosen: dict[bytes, ArchiveEntry] = {}
    for pattern in patterns:
        found = [entry for entry in entries if str(entry) == pattern or fnmatchcase(str(entry), pattern)]
        if not found:
            raise RestoreRefused(
                f"--skip {pattern!r} names nothing in the backup, and nothing was touched. A restore that fails names "
                "the object; its name is as pg_restore --list prints it, without numbers and owner."
            )
        if kept := [str(entry) for entry in found if not entry.may_be_left_out]:
            raise RestoreRefused(
                f"--skip {pattern!r} names {', '.join(kept[:5])}: tables, rows, constraints, and what guards rows are "
                "never left out. Nothing was touched."
            )
        chosen |= {entry.line: entry for entry in found}
    return list(chosen.values())


def choose_optional(entries: Iterable[ArchiveEntry], *, skips: bool, skip_failing: bool) -> list[ArchiveEntry]:
    """Return the entries that are tried one by one, in the order in which pg_restore would restore them.

    :param skips: other entries are left out: what is said of these fails.
    """
    kinds = (_DEPENDENT if skips else set()) | (_MAY_FAIL if skip_failing else set())
    return sorted((entry for entry in entries if entry.kind in kinds), key=get_pass)


def is_tolerable(entry: ArchiveEntry, state: str, *, skip_failing: bool) -> bool:
    """Return True if a restore goes on when the server refuses *entry* with the error code *state*."""
    if skip_failing and entry.may_fail:
        return not state.startswith(_ENVIRONMENT)
    return entry.kind in _DEPENDENT and state in _UNDEFINED


def get_pass(entry: ArchiveEntry) -> int:
    """Return the place of *entry* among the passes of pg_restore; event triggers would see the refresh of a view."""
    is_about_one = entry.kind in ("COMMENT", "SECURITY LABEL") and entry.name.startswith("EVENT TRIGGER ")
    if entry.kind == "EVENT TRIGGER" or is_about_one:
        return LAST_PASS
    return {"ACL": 1, "ACL LANGUAGE": 1, "DEFAULT ACL": 1, "MATERIALIZED VIEW DATA": 2}.get(entry.kind, 0)
