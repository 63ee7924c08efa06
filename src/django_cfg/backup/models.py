"""History: what was tried, when, with what result. Facts about backups come from storage alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models

if TYPE_CHECKING:
    from django_cfg.backup.manifest import Source


class MomentField(models.DateTimeField):  # type: ignore[type-arg]  # generic in the stubs only
    """A time in UTC, also in a project with USE_TZ=False, where the same local time may occur twice."""

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


class Run(models.Model):
    """One attempt to make a backup, to verify one, to restore one, or to prune by hand."""

    class Kind(models.TextChoices):
        BACKUP = "backup"
        VERIFICATION = "verification"
        RESTORE = "restore"
        PRUNE = "prune"

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"
        MISSED = "missed"

    # the source; of a restore, the database that is replaced
    project = models.CharField(max_length=100)
    env = models.CharField(max_length=50)
    database = models.CharField(max_length=100)

    kind = models.CharField(max_length=12, choices=Kind, default=Kind.BACKUP)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    trigger = models.CharField(max_length=20, default="manual")
    started_by = models.CharField(max_length=150, blank=True, help_text="the user; of a schedule: empty")
    slot = MomentField(null=True, blank=True, help_text="the due time that this run serves")
    name = models.CharField(max_length=255, blank=True, help_text="of the backup")
    tables = models.TextField(blank=True, help_text="the only tables of a restore; empty: all")
    host = models.CharField(max_length=255, blank=True)
    queued_at = MomentField(null=True, blank=True, help_text="when its slot was claimed")
    enqueued_at = MomentField(null=True, blank=True, help_text="when it was put on a queue that cannot be asked for it")
    started_at = MomentField(null=True, blank=True)
    finished_at = MomentField(null=True, blank=True)
    heartbeat_at = MomentField(null=True, blank=True, help_text="its last sign of life")
    stage = models.CharField(max_length=300, blank=True, help_text="what it does at the moment")
    bytes_done = models.BigIntegerField(null=True, blank=True, help_text="of this stage")
    bytes_total = models.BigIntegerField(null=True, blank=True, help_text="of this stage, as far as is known")
    cancelled_by = models.CharField(max_length=150, blank=True, help_text="who wants it to end")
    request = models.TextField(blank=True, editable=False, help_text="what waits for the next tick, as JSON")
    lock_file = models.CharField(max_length=100, blank=True, help_text="identity of the file its process has locked")
    # True while it runs, else NULL, which no unique constraint compares: one run of a source at a time, also where a
    # database knows no constraints with a condition. Restores take no lease: their engine locks the target.
    lease = models.BooleanField(null=True, blank=True, editable=False)
    size = models.BigIntegerField(null=True, blank=True, help_text="bytes of the archive as stored")
    old_data = models.TextField(blank=True, help_text="where a restore has kept the old data")
    message = models.TextField(blank=True, help_text="why it failed, or what a restore left out")

    class Meta:
        app_label = "django_cfg_backup"
        verbose_name_plural = "backups"  # where the admin lists the models: the entry leads to all pages
        ordering = ("-id",)
        default_permissions = ()
        permissions = (
            ("view_backup", "Can see backups, their history and how they are doing"),
            ("create_backup", "Can make backups"),
            ("verify_backup", "Can verify and drill backups"),
            ("pin_backup", "Can pin and unpin backups"),
            ("delete_backup", "Can delete a backup"),
            ("download_backup", "Can download backups"),
            ("restore_backup", "Can restore backups"),
            ("prune_backups", "Can prune backups"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("project", "env", "database", "kind", "slot"), name="django_cfg_backup_one_claim_per_slot"
            ),
            models.UniqueConstraint(
                fields=("project", "env", "database", "kind", "lease"), name="django_cfg_backup_one_run_at_a_time"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.name or self.database} ({self.state})"

    @property
    def source(self) -> Source:
        from django_cfg.backup.manifest import Source

        return Source(project=self.project, env=self.env, database=self.database)

    @property
    def claimed(self) -> str:
        """When its slot was claimed, in ISO 8601: after a restore the number alone may be another claim's."""
        return self.queued_at.isoformat() if self.queued_at else ""


class WebhookDelivery(models.Model):
    """An event that has not arrived at a webhook yet."""

    project = models.CharField(max_length=100)
    env = models.CharField(max_length=50)
    receiver = models.CharField(max_length=64, help_text="SHA-256 of its URL")
    event = models.CharField(max_length=30)
    body = models.TextField(help_text="as it is sent, JSON")
    created_at = MomentField()
    due_at = MomentField(help_text="when it is tried again")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="by ticks")

    class Meta:
        app_label = "django_cfg_backup"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.event} of {self.created_at}"


class CachedObject(models.Model):
    """A copy of a small object of the storage: a manifest, a proof. It saves reading; nothing is lost without it."""

    id = models.CharField(max_length=64, primary_key=True, help_text="SHA-256 of the storage's place and the key")
    etag = models.CharField(max_length=200, help_text="of the object that was read")
    content = models.BinaryField()
    read_at = MomentField()

    class Meta:
        app_label = "django_cfg_backup"
        default_permissions = ()

    def __str__(self) -> str:
        return self.id
