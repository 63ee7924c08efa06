"""History: what was tried, when, with what result. Facts about backups come from storage alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import models


class MomentField(models.DateTimeField):  # type: ignore[type-arg]  # generic in the stubs only
    """A moment in UTC, also for a project with USE_TZ=False: there the same local time may come twice."""

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        if isinstance(value, datetime) and value.tzinfo and not settings.USE_TZ:
            return value.astimezone(UTC).replace(tzinfo=None)
        return value

    def from_db_value(self, value: datetime | None, *_: object) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class BackupRun(models.Model):
    """One attempt to make a backup, or a scheduled one to verify the newest."""

    class Kind(models.TextChoices):
        BACKUP = "backup"
        VERIFICATION = "verification"

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        MISSED = "missed"

    # the source
    project = models.CharField(max_length=100)
    env = models.CharField(max_length=50)
    database = models.CharField(max_length=100)

    kind = models.CharField(max_length=12, choices=Kind, default=Kind.BACKUP)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    trigger = models.CharField(max_length=20, default="manual")
    slot = MomentField(null=True, blank=True, help_text="the due time that this run serves")
    name = models.CharField(max_length=255, blank=True, help_text="of the backup")
    host = models.CharField(max_length=255, blank=True)
    queued_at = MomentField(null=True, blank=True, help_text="when its slot was claimed")
    started_at = MomentField(null=True, blank=True)
    finished_at = MomentField(null=True, blank=True)
    heartbeat_at = MomentField(null=True, blank=True, help_text="its last sign of life")
    lock_file = models.CharField(max_length=100, blank=True, help_text="identity of the file its process has locked")
    # True while it runs, else NULL, which no unique constraint compares: one run of a source at a time, also where a
    # database knows no constraints with a condition.
    lease = models.BooleanField(null=True, blank=True, editable=False)
    size = models.BigIntegerField(null=True, blank=True, help_text="bytes of the archive as stored")
    message = models.TextField(blank=True, help_text="why it failed")

    class Meta:
        app_label = "django_cfg_backup"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("project", "env", "database", "kind", "slot"), name="django_cfg_backup_one_claim_per_slot"
            ),
            models.UniqueConstraint(
                fields=("project", "env", "database", "kind", "lease"), name="django_cfg_backup_one_run_at_a_time"
            ),
        )

    def __str__(self) -> str:
        return f"{self.name or self.database} ({self.state})"


class RestoreRun(models.Model):
    """One attempt to bring a backup back."""

    class State(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    # the database that was to be replaced
    project = models.CharField(max_length=100)
    env = models.CharField(max_length=50)
    database = models.CharField(max_length=100)

    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    name = models.CharField(max_length=255, help_text="of the backup")
    tables = models.TextField(blank=True, help_text="only these; empty: everything")
    host = models.CharField(max_length=255, blank=True)
    lock_file = models.CharField(max_length=100, blank=True, help_text="identity of the file its process has locked")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    old_data = models.TextField(blank=True, help_text="where it was set aside")
    message = models.TextField(blank=True, help_text="why it failed")

    class Meta:
        app_label = "django_cfg_backup"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.name} into {self.database} ({self.state})"
