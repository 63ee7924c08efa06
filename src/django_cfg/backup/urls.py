"""For your urls.py: ``path("backups/", include("django_cfg.backup.urls"))``."""

from __future__ import annotations

from django.urls import path

from django_cfg.backup.views import metrics

app_name = "django_cfg_backup"
urlpatterns = [path("metrics", metrics, name="metrics")]
