"""A check that must work where the backup app is not installed, and so cannot live in it.

Registered when ``django_cfg`` is imported, which settings.py does to build its configuration:
nothing here reads the settings before Django runs the check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register  # noqa: A004 (Django's name)
from pydantic import ValidationError

from django_cfg.backup.config.backup import BackupConfig


@register
def check_app_is_installed(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W001: BACKUP is enabled, and no installed app would carry it out."""
    if apps.is_installed("django_cfg.backup") or not _enabled(getattr(settings, "BACKUP", None)):
        return []
    return [
        Warning(
            "BACKUP is enabled, but the app django_cfg.backup is not installed: no backup will be made.",
            hint='Add "django_cfg.backup" to INSTALLED_APPS, or set enabled=False.',
            id="django_cfg_backup.W001",
        )
    ]


def _enabled(backup: object) -> bool:
    try:
        return BackupConfig.model_validate(backup).enabled
    except ValidationError:
        # Telling what is wrong with it is for the app's own checks, once it is installed.
        return False
