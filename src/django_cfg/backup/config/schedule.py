"""When backups are made and verified automatically."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator, model_validator

from django_cfg.base_config import ConfigModel

DEFAULT_CRON = "0 2 * * *"
VERIFICATION_CRON = "0 4 * * 0"
_CRON_FIELDS = 5
_CRON_FORM = "it has five fields, minute hour day month weekday, as in '0 2 * * *'"
_CRON_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class BackupScheduleConfig(ConfigModel):
    """When backups run automatically: one of cron, interval_hours and daily_time."""

    enabled: bool = Field(True, description="Run backups by schedule")
    cron: str | None = Field(
        None, description="Cron expression, or `@daily` and its like; `0 2 * * *` when nothing else is given"
    )
    interval_hours: int | None = Field(None, ge=1, le=168, description="Interval in hours")
    daily_time: time | None = Field(None, description="Time of a daily backup, in TIME_ZONE")
    queue: str = Field("default", min_length=1, description="Queue of the scheduled runs")
    job_timeout: int = Field(
        21_600, ge=1, le=604_800, description="Seconds a scheduled run may take before it is ended"
    )
    grace_minutes: int = Field(
        60, ge=0, le=10_080, description="Minutes after its due time at which a backup is overdue"
    )

    @property
    def cron_expression(self) -> str | None:
        """The cron expression of due times by the clock, `daily_time` too; None for an interval."""
        if self.daily_time is not None:
            return f"{self.daily_time.minute} {self.daily_time.hour} * * *"
        return _CRON_NICKNAMES.get(self.cron.strip().lower(), self.cron) if self.cron else None

    @model_validator(mode="before")
    @classmethod
    def _default_to_daily(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = [name for name in ("cron", "interval_hours", "daily_time") if data.get(name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: give only one of them")
        return data if given else {**data, "cron": DEFAULT_CRON}

    @field_validator("cron")
    @classmethod
    def _cron_is_valid(cls, value: str | None) -> str | None:
        if value is None:
            return None
        expression = _CRON_NICKNAMES.get(value.strip().lower(), value)
        if len(expression.split()) > _CRON_FIELDS:  # the first of six would be seconds
            raise ValueError(f"cron {value!r} has {len(expression.split())} fields: {_CRON_FORM}")
        try:
            next(CronSim(expression, datetime.now(UTC)))
        except CronSimError as error:
            raise ValueError(f"cron {value!r} is not a cron expression ({error}): {_CRON_FORM}") from None
        except StopIteration:
            raise ValueError(f"cron {value!r} names a day that never comes") from None
        return value

    @field_validator("daily_time")
    @classmethod
    def _daily_time_has_no_zone(cls, value: time | None) -> time | None:
        if value is not None and value.tzinfo is not None:
            raise ValueError("daily_time is read in settings.TIME_ZONE: give a time without a time zone")
        return value


class BackupVerificationConfig(ConfigModel):
    """How backups are proved automatically: the newest one of each database, restored and compared, or read."""

    enabled: bool = Field(False, description="Verify the newest backup of each database by schedule")
    schedule: BackupScheduleConfig = Field(
        default_factory=lambda: BackupScheduleConfig(cron=VERIFICATION_CRON),
        description="When; Sundays at 4:00. With `enabled=False` nothing runs here, and proofs are still expected: "
        "drills run elsewhere",
    )
    drill: bool = Field(True, description="Restore into a scratch and compare; else only read and compare checksums")
    drill_alias: str | dict[str, str] | None = Field(
        None,
        min_length=1,
        description="Alias of DATABASES next to whose database drills restore: another server, another role; or a dict "
        "of them by the alias that was backed up; default: the backup's own",
    )
    max_proof_age_days: int = Field(
        30, ge=1, le=3650, description="Days after which `backup_status` warns that the last proof is old"
    )

    def drill_alias_for(self, alias: str) -> str | None:
        """Return the alias next to whose database backups of *alias* are drilled; None: their own."""
        return self.drill_alias.get(alias) if isinstance(self.drill_alias, dict) else self.drill_alias
