"""System checks. They start no process and open no connection; those are `backup_check`'s.

Only an unusable BACKUP, or one whose queue_backend cannot serve any run, is an Error, since an Error blocks `migrate`;
the rest are Warnings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004

from django_cfg.backup.errors import BackupError, ConfigurationError
from django_cfg.backup.pipeline.compression import require_library
from django_cfg.backup.services.monitoring.channels import find_faults
from django_cfg.backup.services.project.project import Project, current_project
from django_cfg.backup.services.project.storage_advice import refuse_served_folder, storage_advice
from django_cfg.backup.services.schedule.queues import choose_backend, require_usable


def check_backup() -> list[CheckMessage]:
    """All checks of settings.BACKUP; apps.py registers them."""
    if getattr(settings, "BACKUP", None) is None:
        return [
            Warning(
                "django_cfg.backup is installed, but settings.BACKUP is missing: nothing is backed up.",
                hint="Add BACKUP = BackupConfig(enabled=True) to your settings.",
                id="django_cfg_backup.W002",
            )
        ]
    try:
        project = current_project()
        refuse_served_folder(project)
        require_library(project.config.compression)
    except ConfigurationError as error:
        return [Error(str(error), id="django_cfg_backup.E001")]
    return [
        *_unknown_aliases(project),
        *_unsupported_engines(project),
        *_unwise_settings(project),
        *_unusable_queue_backend(project),
        *_unknown_queues(project),
        *_no_apprise(project),
        *_unusable_channels(project),
    ]


def _unknown_aliases(project: Project) -> Iterator[CheckMessage]:
    config, chosen = project.config, project.config.verification.drill_alias
    overridden = [database.alias for database in config.databases]
    drilled = chosen.values() if isinstance(chosen, dict) else [chosen] if chosen else []
    yield from _unknown_in("BackupConfig.databases", overridden, "W003")
    yield from _unknown_in("BackupConfig.sanitizers", config.sanitizers, "W003", ": it is never used")
    yield from _unknown_in("BackupVerificationConfig.drill_alias", drilled, "W012")


def _unknown_in(parameter: str, aliases: Iterable[str], number: str, consequence: str = "") -> Iterator[CheckMessage]:
    for alias in dict.fromkeys(aliases):
        if alias not in settings.DATABASES:
            yield Warning(
                f"{parameter} names {alias!r}, which settings.DATABASES does not have{consequence}.",
                hint=f"Its aliases are: {', '.join(settings.DATABASES)}.",
                id=f"django_cfg_backup.{number}",
            )


def _unwise_settings(project: Project) -> Iterator[CheckMessage]:
    for unwise in storage_advice(project):
        yield Warning(unwise.text, hint=unwise.hint, id=f"django_cfg_backup.{unwise.number}")


def _unsupported_engines(project: Project) -> Iterator[CheckMessage]:
    if not project.config.enabled:
        return
    for alias in project.aliases():
        try:
            project.engine(alias).location  # noqa: B018  a database in memory has none
        except BackupError as error:
            yield Warning(
                str(error),
                hint=f"Leave it out with BackupDatabaseConfig(alias={alias!r}, enabled=False).",
                id="django_cfg_backup.W004",
            )


def _unusable_queue_backend(project: Project) -> Iterator[CheckMessage]:
    if not project.config.enabled:
        return
    try:
        require_usable(project.config)
    except ConfigurationError as error:
        yield Error(str(error), id="django_cfg_backup.E002")


def _unknown_queues(project: Project) -> Iterator[CheckMessage]:
    queues = getattr(settings, "RQ_QUEUES", None) if choose_backend(project.config) == "rq" else None
    for name in project.queues():
        if queues and name not in queues:
            yield Warning(
                f"A backup schedule names the RQ queue {name!r}, which settings.RQ_QUEUES does not have.",
                hint=f"Its queues are: {', '.join(sorted(queues))}.",
                id="django_cfg_backup.W010",
            )


def _no_apprise(project: Project) -> Iterator[CheckMessage]:
    if project.config.notify_urls and not find_spec("apprise"):
        yield Warning(
            "BackupConfig.notify_urls is set, and Apprise is not installed: it is not used.",
            hint="Install django-cfg-backup[notify].",
            id="django_cfg_backup.W011",
        )


def _unusable_channels(project: Project) -> Iterator[CheckMessage]:
    for fault in find_faults(project.config):
        yield Warning(
            f"Notifications of backups: {fault}.",
            hint="`manage.py backup_check --notify` sends a test.",
            id="django_cfg_backup.W013",
        )
