"""History: what was tried, when, with what result. Facts about backups come from storage alone."""

from __future__ import annotations

from django.db import models


class BackupRun(models.Model):
    """One attempt to make a backup."""

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

    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    trigger = models.CharField(max_length=20, default="manual")
    slot = models.DateTimeField(null=True, blank=True, help_text="the due time that this run serves")
    name = models.CharField(max_length=255, blank=True, help_text="of the backup")
    host = models.CharField(max_length=255, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    size = models.BigIntegerField(null=True, blank=True, help_text="bytes of the archive as stored")
    message = models.TextField(blank=True, help_text="why it failed")

    class Meta:
        app_label = "django_cfg_backup"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("project", "env", "database", "slot"), name="django_cfg_backup_one_claim_per_slot"
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
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    old_data = models.TextField(blank=True, help_text="where it was set aside")
    message = models.TextField(blank=True, help_text="why it failed")

    class Meta:
        app_label = "django_cfg_backup"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.name} into {self.database} ({self.state})"
