"""extra_options: what may be added to pg_dump's command, and what would change whose dump it is or leave data out."""

from __future__ import annotations

from collections.abc import Sequence

from django_cfg.backup.errors import UsageError
from django_cfg.backup.process.redaction import without_value

# Options that choose the output, its format, the connection, the snapshot, the tables or what of their data; and the
# one whose rows a restore would write into another server.
_REFUSED_LONG = (
    "--file", "--format", "--compress", "--jobs", "--no-sync", "--sync-method", "--create", "--clean", "--if-exists",
    "--dbname", "--host", "--port", "--username", "--password", "--no-password", "--role",
    "--snapshot", "--lock-wait-timeout", "--version", "--help",
    "--table", "--table-and-children", "--exclude-table", "--exclude-table-and-children",
    "--exclude-table-data", "--exclude-table-data-and-children", "--filter",
    "--schema", "--exclude-schema", "--extension", "--exclude-extension",
    "--data-only", "--schema-only", "--section", "--statistics-only", "--no-data", "--no-schema",
    "--no-unlogged-table-data", "--no-large-objects", "--no-blobs", "--include-foreign-data",
    "--enable-row-security", "--binary-upgrade",
)  # fmt: skip
_ALLOWED_SHORT = {"-O", "-x", "-v", "-b"}


def checked(options: Sequence[str], alias: str) -> list[str]:
    """*options*, each one argument of pg_dump.

    :raises UsageError: one of them would choose output, connection, format, tables or data.
    """
    for option in options:
        if not _is_allowed(option):
            raise UsageError(
                f"extra_options of the database {alias!r} holds {without_value(option)!r}: options that choose "
                "pg_dump's output, format, connection, tables or data are set by this package (exclude_tables, "
                "include_tables, connection, lock_timeout), so that a backup says itself what it lacks. Remove it. "
                "Others are given one item each, with = before a value: '--encoding=UTF8'."
            )
    return list(options)


def _is_allowed(option: str) -> bool:
    if option in _ALLOWED_SHORT:
        return True
    name = option.partition("=")[0]
    # pg_dump accepts any unambiguous beginning of a long option
    return len(name) > 2 and name.startswith("--") and not any(refused.startswith(name) for refused in _REFUSED_LONG)
