"""extra_options: what may be added to the dump program's command, and what would change whose dump it is."""

from __future__ import annotations

from collections.abc import Sequence

from django_cfg.backup.errors import UsageError
from django_cfg.backup.process.redaction import without_value

# Options that choose the output and its form, the connection, the tables, the snapshot, what may be locked or lost.
_REFUSED_LONG = (
    "--result-file", "--tab", "--xml", "--dir", "--parallel", "--compact", "--skip-comments", "--comments",
    "--skip-opt", "--opt", "--compatible", "--fields-terminated-by", "--fields-enclosed-by",
    "--fields-optionally-enclosed-by", "--fields-escaped-by", "--lines-terminated-by",
    "--delayed-insert", "--skip-quote-names", "--quote-names",
    "--skip-dump-date", "--default-character-set", "--skip-set-charset", "--set-charset",
    "--no-set-names", "--skip-tz-utc", "--tz-utc", "--skip-hex-blob", "--hex-blob", "--skip-quick", "--quick",
    "--skip-create-options", "--create-options", "--skip-add-drop-table", "--add-drop-table", "--add-drop-trigger",
    "--add-drop-database", "--header", "--log-error",
    "--host", "--port", "--user", "--password", "--password1", "--socket", "--protocol", "--pipe", "--bind-address",
    "--login-path", "--defaults-file", "--defaults-extra-file", "--defaults-group-suffix", "--no-defaults",
    "--print-defaults", "--ssl", "--skip-ssl", "--ssl-mode", "--ssl-verify-server-cert",
    "--skip-ssl-verify-server-cert", "--ssl-ca", "--ssl-capath", "--ssl-cert", "--ssl-cipher", "--ssl-key", "--ssl-crl",
    "--ssl-crlpath", "--tls-version", "--tls-ciphersuites", "--plugin-dir", "--default-auth",
    "--all-databases", "--databases", "--ignore-database", "--tables", "--ignore-table", "--ignore-table-data",
    "--where", "--system", "--no-create-db", "--no-create-info", "--no-data", "--no-data-med", "--as-of",
    "--dump-history", "--include-master-host-port", "--all-tablespaces",
    "--skip-routines", "--routines", "--skip-triggers", "--triggers", "--skip-events", "--events",
    "--single-transaction", "--skip-single-transaction", "--lock-tables", "--lock-all-tables", "--flush-logs",
    "--flush-privileges", "--delete-master-logs", "--delete-source-logs", "--master-data", "--source-data",
    "--dump-slave", "--dump-replica", "--apply-slave-statements", "--apply-replica-statements",
    "--force", "--ignore-error", "--replace", "--insert-ignore", "--help", "--version", "--init-command",
)  # fmt: skip
_ALLOWED_SHORT = {"-v", "-C", "-c", "-i"}


def checked(options: Sequence[str], alias: str) -> list[str]:
    """*options*, each one argument of the dump program.

    :raises UsageError: one of them would choose output, connection, tables or locks.
    """
    for option in options:
        if not _is_allowed(option):
            raise UsageError(
                f"extra_options of the database {alias!r} holds {without_value(option)!r}: options that choose the "
                "dump's output, its form, the connection, the tables or what is locked are set by this package "
                "(exclude_tables, include_tables, connection). Remove it. Others are given one item each, with = "
                "before a value: '--net-buffer-length=65536'."
            )
    return list(options)


def _is_allowed(option: str) -> bool:
    if option in _ALLOWED_SHORT:
        return True
    name = option.partition("=")[0].replace("_", "-").lower()
    for prefix in ("--loose-", "--enable-", "--maximum-"):
        name = "--" + name.removeprefix(prefix) if name.startswith(prefix) else name
    name = name.replace("--disable-", "--skip-", 1)
    # the programs accept any unambiguous beginning of a long option
    return len(name) > 2 and name.startswith("--") and not any(refused.startswith(name) for refused in _REFUSED_LONG)
