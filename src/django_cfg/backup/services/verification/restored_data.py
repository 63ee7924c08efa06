"""The checks that restored data has to pass before it replaces the old."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django_cfg.backup import signals
from django_cfg.backup.engines.base import Restoration
from django_cfg.backup.errors import RestoreFailed, VerificationFailed
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.project.progress import Progress

_FALSE = ("", "0", "f", "false")  # as some drivers give it: a text


def check_restored_data(
    restoration: Restoration,
    manifest: Manifest,
    alias: str,
    queries: Sequence[str],
    progress: Progress,
    *,
    sanitize: Callable[[], None] | None = None,
) -> None:
    """Check structure and rows against the manifest, then ask the *queries* and the receivers of ``restore_checked``.

    :param sanitize: changes the data in between: the queries see what is about to replace the old.

    :raises VerificationFailed: the data differs, or a query gives no truthy value.
    :raises RestoreFailed: a receiver of ``restore_checked`` objects.
    """
    progress.say(f"{alias}: checking the restored data")
    restoration.check(manifest)
    if sanitize:
        sanitize()
    for query in queries:
        require_true(restoration, query)
    try:
        facts = {"manifest": manifest, "database": alias, "scratch": restoration.staging_settings}
        signals.restore_checked.send(None, **facts)
    except Exception as error:
        raise RestoreFailed(
            f"A receiver of restore_checked objects to the restored data: {error}.{_untouched(restoration, alias)}"
        ) from error


def require_true(restoration: Restoration, query: str) -> None:
    """
    :raises VerificationFailed: *query* gives no truthy value.
    """
    answer = restoration.fetch_value(query)
    if not answer or str(answer).strip().lower() in _FALSE:
        raise VerificationFailed(
            f"The verification query {query!r} gives {answer!r} on the restored data, which is not true."
            f"{_untouched(restoration)} Use another backup, or correct verification_queries in settings.BACKUP."
        )


def _untouched(restoration: Restoration, alias: str = "") -> str:
    """Say that the target is as it was, where that is so; else the error of the restore says how it is."""
    if restoration.has_changed_target:
        return ""
    return f" The database {alias!r} is as it was." if alias else " The database was not touched."
