"""What is backed up, and where to: settings.BACKUP together with the rest of the project's settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from pydantic import ValidationError

from django_cfg.backup.config.backup import BackupConfig
from django_cfg.backup.engines import engine_for
from django_cfg.backup.engines.base import Database, Engine
from django_cfg.backup.errors import BackupError, ConfigurationError, UsageError
from django_cfg.backup.manifest import Source
from django_cfg.backup.process.environment import hide_from_children
from django_cfg.backup.services.project.places import Place, open_places
from django_cfg.backup.services.project.secrets import secrets_of
from django_cfg.backup.storage.base import Storage
from django_cfg.environment_mode import long_form, mode_from_variables

_NO_DATABASE = "django.db.backends.dummy"  # what Django makes of an empty DATABASES
_OPEN_ENVIRONMENTS = ("development", "test")
_under_way: ContextVar[list[Project] | None] = ContextVar("django_cfg_backup_operation", default=None)


@dataclass(frozen=True)
class Project:
    """A project in one of its environments."""

    config: BackupConfig
    name: str
    env: str
    zone: tzinfo
    base_dir: Path | None
    databases: Mapping[str, Database]  # every alias of settings.DATABASES that names a database

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Where backups are kept, ``main`` first; each storage is one object, which shares its connections and what it
        has learned of the place.

        :raises ConfigurationError: one of them cannot be used.
        """
        return open_places(self.config, self.base_dir)

    @property
    def storage(self) -> Storage:
        """The storage of ``main``."""
        return self.places[0].storage

    def place(self, name: str) -> Place:
        """
        :raises UsageError: there is no place of this *name*.
        """
        for place in self.places:
            if place.name == name:
                return place
        known = ", ".join(place.name for place in self.places)
        raise UsageError(f"There is no place {name!r}: BackupConfig.storage and copies are called {known}.")

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The keys of which one has to have signed a manifest; empty: manifests are not signed."""
        key = self.config.signing_key
        return (key, *self.config.earlier_signing_keys) if key else ()

    @property
    def location(self) -> str:
        """Where the backups are, for messages; also when that place cannot be used."""
        try:
            return self.storage.location
        except ConfigurationError:
            return "a storage that cannot be used"

    @property
    def allows_web_restore(self) -> bool:
        """Whether the admin restores."""
        return self._is_open(self.config.web_restore)

    @property
    def allows_web_download(self) -> bool:
        """Whether the admin hands out backups."""
        return self._is_open(self.config.web_download)

    def _is_open(self, chosen: bool | None) -> bool:
        return self.env in _OPEN_ENVIRONMENTS if chosen is None else chosen

    def source(self, alias: str) -> Source:
        return Source(project=self.name, env=self.env, database=alias)

    def owns(self, source: Source) -> bool:
        return (source.project, source.env) == (self.name, self.env)

    def database(self, alias: str) -> Database:
        """
        :raises UsageError: settings.DATABASES has no such alias.
        """
        if alias not in self.databases:
            known = ", ".join(sorted(self.databases)) or "none"
            raise UsageError(f"There is no database {alias!r} in settings.DATABASES; its aliases are: {known}.")
        return self.databases[alias]

    def engine(self, alias: str) -> Engine:
        return engine_for(self.database(alias))

    def aliases(self) -> list[str]:
        """The aliases that are backed up: enabled, no test mirror, each database once."""
        chosen: dict[str, str] = {}
        for alias, database in self.databases.items():
            is_mirror = database.settings.get("TEST", {}).get("MIRROR")
            if self.config.for_database(alias).enabled and not is_mirror:
                chosen.setdefault(database_identity(database), alias)
        return list(chosen.values())

    def queues(self) -> list[str]:
        """The names of the queues of scheduled runs."""
        of_kinds = (self.config.schedule_for, self.config.verification_schedule_for)
        schedules = [schedule_of(alias) for schedule_of in of_kinds for alias in self.aliases()]
        return sorted({schedule.queue for schedule in schedules if schedule})


@contextmanager
def operation() -> Iterator[None]:
    """A block in which the project is read from the settings once, and its storage opened once.

    Blocks may be nested; the outermost counts. Also to be used as a decorator.
    """
    if _under_way.get() is not None:
        yield
        return
    token = _under_way.set([])
    try:
        yield
    finally:
        _under_way.reset(token)


def current_project() -> Project:
    """Return the project of the current settings, or of the operation that is under way.

    :raises ConfigurationError: settings.BACKUP is missing or cannot be used.
    """
    known = _under_way.get()
    if known is None:
        return _read_project()
    if not known:
        known.append(_read_project())
    return known[0]


def _read_project() -> Project:
    config = backup_config()
    base_dir = getattr(settings, "BASE_DIR", None)
    project = Project(
        config=config,
        name=config.project or getattr(settings, "PROJECT_NAME", "") or _settings_package(),
        env=_environment(),
        zone=_zone(),
        base_dir=Path(base_dir) if base_dir else None,
        databases={
            alias: _database(config, alias, values)
            for alias, values in settings.DATABASES.items()
            if values.get("ENGINE", _NO_DATABASE) != _NO_DATABASE
        },
    )
    hide_from_children(secrets_of(project))
    return project


def _database(config: BackupConfig, alias: str, settings: Mapping[str, Any]) -> Database:
    connection = config.for_database(alias).connection
    return Database(
        alias,
        settings,
        connection,
        tools_dir=config.tools_dir,
        lock_timeout=config.lock_timeout,
        dump_timeout=config.dump_timeout,
        dump_jobs=config.dump_jobs,
        restore_jobs=config.restore_jobs,
    )


def backup_config() -> BackupConfig:
    """``settings.BACKUP``, which may be a BackupConfig or a dict of its parameters."""
    value = getattr(settings, "BACKUP", None)
    if isinstance(value, BackupConfig):
        return value
    if not isinstance(value, dict):
        raise ConfigurationError(
            "settings.BACKUP is missing. Add `from django_cfg import BackupConfig` and "
            "`BACKUP = BackupConfig(enabled=True)` to your settings; docs/configuration.md lists the parameters."
        )
    try:
        return BackupConfig.model_validate(value)
    except ValidationError as error:
        raise ConfigurationError(f"settings.BACKUP cannot be used: {error}") from None


def require_enabled(config: BackupConfig) -> None:
    """
    :raises ConfigurationError: backups are switched off.
    """
    if not config.enabled:
        raise ConfigurationError(
            "Backups are switched off: set enabled=True in BackupConfig (settings.BACKUP). "
            "Listing, verifying and restoring work in any case."
        )


def database_identity(database: Database) -> str:
    """Equal for two aliases of one database, also where no engine of ours knows it."""
    try:
        return engine_for(database).identity
    except BackupError:
        return f"alias:{database.alias}"  # its backup will fail by name, not vanish here


def _zone() -> tzinfo:
    """Return TIME_ZONE; None is the machine's own, as in Django."""
    return ZoneInfo(settings.TIME_ZONE) if settings.TIME_ZONE else datetime.now().astimezone().tzinfo or UTC


def _environment() -> str:
    """Return the mode of settings.ENV_MODE, which DjangoConfig sets, or of the variables that DjangoConfig reads.

    The settings of other projects may name environments of their own.

    :raises ConfigurationError: a variable names none; backups would be stored, and looked for, under a wrong name.
    """
    try:
        named = long_form(str(getattr(settings, "ENV_MODE", None) or "")) or mode_from_variables()
    except ValueError as error:
        raise ConfigurationError(f"Which environment this project runs in is not known: {error}.") from None
    return named or ("development" if settings.DEBUG else "production")


def _settings_package() -> str:
    return str(os.environ.get("DJANGO_SETTINGS_MODULE", "") or "project").partition(".")[0]
