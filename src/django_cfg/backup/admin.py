"""The history in the admin: to read, not to change."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from django_cfg.backup.models import BackupRun, RestoreRun


class _ToRead(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(BackupRun)
class BackupRunAdmin(_ToRead):
    list_display = ("started_at", "project", "env", "database", "kind", "state", "trigger", "slot", "name", "size")
    list_filter = ("kind", "state", "database", "trigger")
    search_fields = ("name", "message")


@admin.register(RestoreRun)
class RestoreRunAdmin(_ToRead):
    list_display = ("started_at", "finished_at", "project", "env", "database", "state", "name")
    list_filter = ("state", "database")
    search_fields = ("name", "message", "old_data")
