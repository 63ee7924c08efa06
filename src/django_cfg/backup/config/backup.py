"""The configuration of backups: typed, checked when it is built, secrets kept out of every message.

The parameters, types, defaults and ranges are those of the configuration guide; the few added ones
say so. Every string may hold ``${VAR}`` or ``${VAR:default}`` (see :mod:`django_cfg.environment`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from django_cfg.backup.config import encryption_key as keys
from django_cfg.backup.config.api import BackupApiConfig
from django_cfg.backup.config.filename_template import check_template
from django_cfg.backup.config.schedule import BackupScheduleConfig, BackupVerificationConfig
from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.config.webhook import BackupWebhookConfig
from django_cfg.base_config import ConfigModel

_REPORTS_SUCCESS = re.compile(r"[?&;]status=up(?:[&;#]|$)", re.IGNORECASE)

# The parameters that are secrets or lists of them, and what finds out whether one is usable.
_SECRETS: dict[str, Callable[[str], object]] = {
    "encryption_key": keys.parse_encryption_key,
    "decryption_keys": keys.parse_earlier_passphrase,
    "signing_key": keys.parse_signing_key,
    "earlier_signing_keys": keys.parse_signing_key,
    "metrics_token": keys.parse_signing_key,
}

MAIN_PLACE = "main"  # BackupConfig.storage, next to the names of copies
Compression = Literal["gzip", "zstd", "bz2", "xz", "none"]
QueueBackend = Literal["rq", "tasks", "celery", "process"]


class BackupRetentionConfig(ConfigModel):
    """How long backups are kept: grandfather, father, son, and a limit of size."""

    enabled: bool = Field(True, description="Delete old backups after each successful one")
    keep_daily: int = Field(7, ge=1, le=365, description="Days of backups to keep")
    keep_weekly: int = Field(4, ge=0, le=52, description="Weekly backups to keep")
    keep_monthly: int = Field(3, ge=0, le=24, description="Monthly backups to keep")
    max_total_size_mb: int | None = Field(None, gt=0, description="Limit of the total size in MB (10^6 bytes)")


class BackupCopyConfig(ConfigModel):
    """A further place in which every backup is kept."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        max_length=50,
        description="Name of the place, as `--from` and messages use it: lower-case letters, digits, `-` and `_`",
    )
    storage: BackupStorageConfig = Field(description="Where the copies are kept")
    retention: BackupRetentionConfig = Field(
        default_factory=BackupRetentionConfig, description="How long they are kept there: 7/4/3"
    )
    required: bool = Field(
        True, description="A copy that is missing makes a run fail in part and the status unhealthy; else it warns"
    )


class BackupDatabaseConfig(ConfigModel):
    """What differs for one database of settings.DATABASES."""

    alias: str = Field(min_length=1, description="Database alias of settings.DATABASES")
    enabled: bool = Field(True, description="Back up this database")
    exclude_tables: list[str] = Field(
        [], description="Tables whose rows are left out (shell patterns); their definition stays"
    )
    include_tables: list[str] = Field([], description="Only these tables (shell patterns); empty: all")
    extra_options: list[str] = Field([], repr=False, description="Further options of the dump tool, one item each")
    verification_queries: list[str] = Field(
        [],
        description="SQL asked of restored data before it takes the place of the old; each has to give one truthy "
        "value",
    )
    drill_skip: list[str] = Field(
        [], description="Objects that drills leave out, as `backup_restore --skip` does (PostgreSQL)"
    )
    drill_skip_failing: bool = Field(
        False, description="Drills leave out what `backup_restore --skip-failing` does (PostgreSQL)"
    )
    schedule_override: BackupScheduleConfig | None = Field(None, description="A schedule of its own")
    connection: dict[str, Any] = Field(
        {},
        repr=False,
        description="HOST, PORT, USER, PASSWORD, OPTIONS that differ for dump and restore: a replica, "
        "a direct port next to a pooler, a privileged role",
    )

    @field_validator("connection")
    @classmethod
    def _connection_is_known(cls, value: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(value.keys() - {"HOST", "PORT", "USER", "PASSWORD", "OPTIONS"}):
            raise ValueError(
                f"connection may hold HOST, PORT, USER, PASSWORD and OPTIONS, not {', '.join(unknown)}: "
                "another database is an alias of its own in DATABASES"
            )
        return value

    @model_validator(mode="after")
    def _tables_are_not_on_both_lists(self) -> Self:
        if both := sorted(set(self.exclude_tables) & set(self.include_tables)):
            raise ValueError(f"{', '.join(both)} cannot be in exclude_tables and in include_tables: take it out of one")
        return self


class BackupConfig(ConfigModel):
    """Backups of a Django project: ``settings.BACKUP``."""

    exact = frozenset(_SECRETS)

    enabled: bool = Field(False, description="Make backups; listing and restoring work in any case")
    project: str | None = Field(
        None,
        min_length=1,
        description="Name of the project in its backups; else DjangoConfig.project_name, "
        "else the first component of the settings module",
    )
    storage: BackupStorageConfig = Field(default_factory=BackupStorageConfig, description="Where backups are kept")
    copies: list[BackupCopyConfig] = Field([], description="Further places, to which each backup goes from one dump")
    schedule: BackupScheduleConfig = Field(
        default_factory=BackupScheduleConfig, description="When backups run: daily at 2:00"
    )
    retention: BackupRetentionConfig = Field(
        default_factory=BackupRetentionConfig, description="How long backups are kept: 7/4/3"
    )
    verification: BackupVerificationConfig = Field(
        default_factory=BackupVerificationConfig, description="How backups are proved automatically: off"
    )
    databases: list[BackupDatabaseConfig] = Field([], description="Overrides per database")
    sanitizers: dict[str, str] = Field(
        {},
        description="By alias, what removes personal data from a backup of another source that is restored there, "
        "before it replaces anything: the dotted path of a callable, or the path of a `.sql` file",
    )
    before_migrate: Literal["off", "pending"] = Field(
        "off",
        description="`pending`: `manage.py migrate` backs up a database first if it has migrations to apply, and "
        "applies none if that fails",
    )
    compression: Compression = Field("gzip", description="Compression: `gzip`, `zstd`, `bz2`, `xz`, `none`")
    encryption_key: str | None = Field(
        None, repr=False, description="OpenPGP public key, its fingerprint, or a passphrase"
    )
    decryption_keys: list[str] = Field(
        [], repr=False, description="Earlier passphrases, so that old backups stay readable"
    )
    signing_key: str | None = Field(
        None, repr=False, description="Secret that signs manifests (HMAC-SHA256); restores then refuse unsigned ones"
    )
    earlier_signing_keys: list[str] = Field(
        [], repr=False, description="Earlier signing keys, so that old backups stay trusted"
    )
    notify_on_success: bool = Field(False, description="Notify of successful backups")
    notify_on_failure: bool = Field(True, description="Notify of failed backups, and when they work again")
    notify_urls: list[str] = Field([], repr=False, description="Apprise URLs that are notified in addition to ADMINS")
    webhooks: list[BackupWebhookConfig] = Field([], description="Addresses that are sent events, signed")
    heartbeat_url: str | None = Field(
        None,
        repr=False,
        description="Fetched after each backup, with `/fail` on its path after a failed one; may hold `{database}`",
    )
    metrics_token: str | None = Field(
        None, repr=False, description="Bearer token of the page of metrics; default: no page"
    )
    web_restore: bool | None = Field(
        None, description="Restore from the admin; default: only in `development` and `test`"
    )
    web_download: bool | None = Field(
        None, description="Download from the admin; default: only in `development` and `test`"
    )
    api: BackupApiConfig = Field(default_factory=BackupApiConfig, description="The HTTP API: off")
    queue_backend: QueueBackend | None = Field(
        None,
        description="What makes scheduled runs: `rq`, `tasks` (Django's), `celery`, or `process`, that of the tick; "
        "default: `rq` if there are RQ_QUEUES, else `process`",
    )
    tick_queue: str = Field("default", min_length=1, description="RQ queue of the ticks")
    tools_dir: str | None = Field(
        None,
        min_length=1,
        description="Folder of the dump tools, or several with `:` between; default: where packages put them, then "
        "PATH",
    )
    lock_timeout: int = Field(60, ge=1, le=86_400, description="Seconds a dump or a restore waits for a lock")
    dump_timeout: int | None = Field(
        None, ge=1, description="Seconds after which a dump tool that has not ended is ended; default: never"
    )
    dump_jobs: int = Field(
        1,
        ge=1,
        le=64,
        description="pg_dumps that run at the same time, in one snapshot: each after the first stores the rows of some "
        "large tables in an archive of its own (PostgreSQL)",
    )
    restore_jobs: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Sessions of a restore that build indexes and check constraints at the same time (PostgreSQL); "
        "default: one per core of this machine, at most 4. Never more than half of the server's free connections",
    )
    filename_template: str = Field(
        "{database}_{timestamp}_{env}",
        description="Name of a backup, from `{database}`, `{timestamp}` and `{env}`; `/` makes folders",
    )

    @field_validator(*_SECRETS)
    @classmethod
    def _secrets_are_usable(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if isinstance(value, list):
            return [keys.usable_secret(name, secret, _SECRETS[name]) for secret in value]
        return None if value is None else keys.usable_secret(name, value, _SECRETS[name])

    @field_validator("heartbeat_url")
    @classmethod
    def _heartbeat_is_fetched_over_http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("heartbeat_url begins with http:// or https://")
        if value is not None and _REPORTS_SUCCESS.search(value):
            raise ValueError(
                "heartbeat_url says status=up in its query, so a failed backup would report success too: such a "
                "service (Uptime Kuma) has no /fail. Take the status out of the query, or use a service that has /fail"
            )
        return value

    @field_validator("filename_template")
    @classmethod
    def _template_is_usable(cls, value: str) -> str:
        return check_template(value)

    @model_validator(mode="after")
    def _earlier_signing_keys_have_a_successor(self) -> Self:
        if self.earlier_signing_keys and not self.signing_key:
            raise ValueError("earlier_signing_keys are for backups made before signing_key was changed: set it, too")
        return self

    @model_validator(mode="after")
    def _copies_have_names_of_their_own(self) -> Self:
        names = [MAIN_PLACE, *(copy.name for copy in self.copies)]
        if MAIN_PLACE in names[1:]:
            raise ValueError(f"copies holds the name {MAIN_PLACE!r}, which is that of BackupConfig.storage: rename it")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"copies holds the name {', '.join(twice)} more than once: give each place its own")
        return self

    @model_validator(mode="after")
    def _aliases_are_unique(self) -> Self:
        aliases = [database.alias for database in self.databases]
        if twice := sorted({alias for alias in aliases if aliases.count(alias) > 1}):
            raise ValueError(f"databases holds {', '.join(twice)} more than once: merge the entries")
        return self

    @model_validator(mode="after")
    def _webhooks_are_unique(self) -> Self:
        if len({webhook.url for webhook in self.webhooks}) < len(self.webhooks):
            raise ValueError("webhooks holds one url more than once: merge the events of these entries")
        return self

    def for_database(self, alias: str) -> BackupDatabaseConfig:
        """The override of *alias*, or one that changes nothing."""
        found = (database for database in self.databases if database.alias == alias)
        return next(found, BackupDatabaseConfig.model_construct(alias=alias))

    def schedule_for(self, alias: str) -> BackupScheduleConfig | None:
        """Return the schedule that backs up *alias*; None: there is none."""
        database = self.for_database(alias)
        schedule = database.schedule_override or self.schedule
        return schedule if self.enabled and database.enabled and schedule.enabled else None

    def verification_schedule_for(self, alias: str) -> BackupScheduleConfig | None:
        """Return the schedule that verifies the backups of *alias*; None: there is none."""
        verification = self.verification
        is_wanted = self.enabled and self.for_database(alias).enabled and verification.enabled
        return verification.schedule if is_wanted and verification.schedule.enabled else None

    def expects_proofs_of(self, alias: str) -> bool:
        """Return True if drills of *alias* are wanted, here or elsewhere."""
        verification = self.verification
        return self.enabled and self.for_database(alias).enabled and verification.enabled and verification.drill
