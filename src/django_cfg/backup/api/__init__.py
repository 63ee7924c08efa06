"""The HTTP API: the answers of the commands with ``--json``, for clients that have a token.

``path("backups/api/", include("django_cfg.backup.api.urls"))``; docs/http-api.md has the addresses.
"""
