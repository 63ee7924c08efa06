"""What of an archive a restore takes: without the objects that its target cannot have or the operator leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django_cfg.backup.engines.base import RestoreOptions
from django_cfg.backup.engines.postgresql.archive_entry import (
    ArchiveEntry,
    choose_optional,
    choose_skipped,
    is_tolerable,
)
from django_cfg.backup.engines.postgresql.archive_script import require_restricted
from django_cfg.backup.engines.postgresql.error_text import describe_error
from django_cfg.backup.engines.postgresql.missing_roles import find_entries
from django_cfg.backup.engines.postgresql.pg_restore import ArchiveSelection, OpenedArchive
from django_cfg.backup.engines.postgresql.psql_session import PsqlSession
from django_cfg.backup.engines.postgresql.schema import unquote_name
from django_cfg.backup.engines.postgresql.target import Target
from django_cfg.backup.errors import RestoreFailed

_NO_ACCESS_METHODS_SINCE = 15  # major version of pg_restore
_GRANTOR = re.compile(r"^SET SESSION AUTHORIZATION ", re.MULTILINE)
_OF_ROLE = re.compile(r'^ALTER DEFAULT PRIVILEGES FOR ROLE ("(?:[^"]|"")*"|\S+)', re.MULTILINE)


@dataclass(frozen=True)
class EntrySelection:
    """The entries to restore; those that are tried afterwards, one by one if need be; and what was left out."""

    main: ArchiveSelection
    optional: Sequence[ArchiveEntry] = ()
    skipped: Sequence[str] = ()  # by the operator
    without_roles: Sequence[str] = ()  # since they name missing roles
    of_others: Sequence[str] = ()  # privileges that only other roles may grant

    def advise(self, target: Target) -> str:
        """Return what the operator has to know about owners, privileges and tablespaces."""
        return " ".join(filter(None, (_advise_on_owners(target, self.without_roles), self._advise_on_others(target))))

    def _advise_on_others(self, target: Target) -> str:
        notes = []
        if self.of_others:
            notes.append(
                f"{target.user} may not grant what other roles had granted. Left out: {', '.join(self.of_others)}. "
                "GRANT what is needed, or restore with a superuser."
            )
        if target.missing_tablespaces:
            notes.append(
                f"The tablespaces {', '.join(target.missing_tablespaces)} cannot be used here, so everything is in the "
                "default tablespace of the database."
            )
        if "--no-table-access-method" in self.main.options:
            methods = ", ".join(target.missing_access_methods)
            notes.append(f"The access methods {methods} do not exist here, so their tables have the default one.")
        return " ".join(notes)


def select_entries(
    target: Target, archive: OpenedArchive, options: RestoreOptions, existing_schemas: Sequence[str] = ()
) -> EntrySelection:
    """Return what of *archive* can be restored into *target*.

    Owners are left out where their roles are missing, and so is what this role may not restore.

    :raises RestoreRefused: the operator leaves out something that is not in the archive, or that no restore may lack.
    """
    skipped = choose_skipped(archive.entries, options.skip)
    without_roles = find_entries(archive, target.missing_roles)
    privileges = [] if target.is_superuser or target.missing_roles else _find_privileges_of_others(target, archive)
    optional = choose_optional(archive.entries, skips=bool(skipped), skip_failing=options.skip_failing)
    left_out = {*without_roles, *(entry.line for entry in (*skipped, *privileges, *optional))}
    contents = archive.contents.without_schemas(existing_schemas).without(left_out).event_triggers_last()
    if not target.is_superuser:
        contents = contents.without_extension_comments()
    return EntrySelection(
        ArchiveSelection(contents, _choose_options(target, skipped)),
        _keep_possible(target, optional, {*without_roles, *(entry.line for entry in (*skipped, *privileges))}),
        [str(entry) for entry in skipped],
        list(filter(None, without_roles.values())),
        [str(entry) for entry in privileges],
    )


def restore_optional(
    archive: OpenedArchive, selection: EntrySelection, session: PsqlSession, options: RestoreOptions
) -> list[str]:
    """Restore the optional entries in the transaction of *session*; return those that the server refuses, and why.

    All are tried at once, else by halves: few of many fail.

    :raises RestoreFailed: one fails for a reason for which it is not left out.
    """

    def restore(entries: Sequence[ArchiveEntry]) -> Iterator[str]:
        script = archive.read_script([entry.line for entry in entries], selection.main.options)
        require_restricted(script)
        failure = session.try_script(script, to_its_end=len(entries) == 1)
        if failure is None:
            return
        if len(entries) > 1:
            middle = len(entries) // 2
            yield from restore(entries[:middle])
            yield from restore(entries[middle:])
            return
        state, message = failure
        reason = describe_error(message)
        if not is_tolerable(entries[0], state, skip_failing=options.skip_failing):
            raise RestoreFailed(f"The entry {entries[0]} cannot be restored, and the database is as it was: {reason}.")
        yield f"{entries[0]} ({reason})"

    return list(restore(selection.optional)) if selection.optional else []


def _choose_options(target: Target, skipped: Sequence[ArchiveEntry]) -> list[str]:
    options = ["--no-subscriptions"]
    if target.missing_roles:
        options += ["--no-owner", "--no-privileges"]
    elif not target.is_superuser:
        options += ["--no-owner"]
    if target.missing_tablespaces:
        options += ["--no-tablespaces"]
    # without its extension an access method is not made; with it, it is
    makes_none = any(entry.kind in ("EXTENSION", "ACCESS METHOD") for entry in skipped)
    if makes_none and target.missing_access_methods and target.tools.major >= _NO_ACCESS_METHODS_SINCE:
        options += ["--no-table-access-method"]
    return options


def _keep_possible(target: Target, entries: Sequence[ArchiveEntry], left_out: set[bytes]) -> list[ArchiveEntry]:
    """Return those of *entries* that are not left out for another reason."""
    kept = [entry for entry in entries if entry.line not in left_out]
    return kept if target.is_superuser else [entry for entry in kept if not entry.is_extension_comment]


def _find_privileges_of_others(target: Target, archive: OpenedArchive) -> list[ArchiveEntry]:
    """Return the privileges in *archive* that this role may not grant, since another one did."""

    def find(entries: Sequence[ArchiveEntry]) -> Iterator[ArchiveEntry]:
        script = archive.read_script([entry.line for entry in entries], ["--no-owner"]).decode(errors="replace")
        roles = {unquote_name(role) for role in _OF_ROLE.findall(script)}
        if _GRANTOR.search(script) or roles & set(target.forbidden_roles):
            middle = len(entries) // 2
            yield from entries if not middle else (*find(entries[:middle]), *find(entries[middle:]))

    privileges = [entry for entry in archive.entries if entry.kind in ("ACL", "DEFAULT ACL")]
    return list(find(privileges)) if privileges else []


def _advise_on_owners(target: Target, left_out: Sequence[str]) -> str:
    if target.missing_roles:
        entries = f" Left out, since they name such roles: {', '.join(left_out)}." if left_out else ""
        return (
            f"The roles {', '.join(target.missing_roles)} do not exist on this server, so everything was restored "
            f"without owners and privileges: it belongs to {target.user}, who restored it. Create them, then "
            f"GRANT what they need.{entries}"
        )
    if not target.is_superuser and set(target.manifest.engine.roles) - {target.user}:
        return f"{target.user} is no superuser, so everything restored belongs to it, not to its previous owners."
    return ""
