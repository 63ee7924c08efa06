"""The options of mariadb-dump and mysqldump that extra_options may not hold."""

from __future__ import annotations

from django_cfg.backup.engines.extra_options import OptionRules

# Options that choose the output and its form, the connection, the tables, the snapshot, what may be locked or lost.
_REFUSED = (
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


def _normalize(name: str) -> str:
    name = name.replace("_", "-").lower()
    for prefix in ("--loose-", "--enable-", "--maximum-"):
        name = "--" + name.removeprefix(prefix) if name.startswith(prefix) else name
    return name.replace("--disable-", "--skip-", 1)


RULES = OptionRules(
    refused=_REFUSED,
    allowed_short={"-v", "-C", "-c", "-i"},
    normalize=_normalize,
    why=(
        "options that choose the dump's output, its form, the connection, the tables or what is locked are set by this "
        "package (exclude_tables, include_tables, connection)."
    ),
    example="--net-buffer-length=65536",
)
