"""The addresses of the HTTP API, for ``include("django_cfg.backup.api.urls")``."""

from __future__ import annotations

from django.urls import path, re_path

from django_cfg.backup.api.endpoint import endpoint

app_name = "django_cfg_backup_api"

urlpatterns = [
    path("backups", endpoint("GET", "reading.list_backups"), name="backups"),
    path("backups/<path:name>", endpoint("GET", "reading.show_backup"), name="backup"),
    path("status", endpoint("GET", "reading.show_status"), name="status"),
    path("prune", endpoint("GET", "reading.preview_prune"), name="prune"),
    path("create", endpoint("POST", "starting.create"), name="create"),
    path("verify", endpoint("POST", "starting.verify"), name="verify"),
    path("drill", endpoint("POST", "starting.drill"), name="drill"),
    path("restore", endpoint("POST", "starting.restore"), name="restore"),
    path("jobs/<str:number>", endpoint("GET", "jobs.show_job"), name="job"),
    path("download/<path:name>", endpoint("GET", "download.download"), name="download"),
    path("openapi.json", endpoint("GET", "openapi.show_document"), name="openapi"),
    path("", endpoint("", ""), name="root"),
    re_path("", endpoint("", ""), name="unknown"),  # also asks for the token, and answers in JSON
]
