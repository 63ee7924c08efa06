"""The options of pg_dump that extra_options may not hold."""

from __future__ import annotations

from django_cfg.backup.engines.extra_options import OptionRules

# Options that choose the output, its format, the connection, the snapshot, the tables or what of their data; and the
# one whose rows a restore would write into another server.
_REFUSED = (
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
RULES = OptionRules(
    refused=_REFUSED,
    allowed_short={"-O", "-x", "-v", "-b"},
    normalize=str,
    why=(
        "options that choose pg_dump's output, format, connection, tables or data are set by this package "
        "(exclude_tables, include_tables, connection, lock_timeout), so that a backup says itself what it lacks."
    ),
    example="--encoding=UTF8",
)
