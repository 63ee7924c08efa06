"""The addresses of a project that has the HTTP API, and nothing else."""

from django.urls import include, path

urlpatterns = [path("backups/api/", include("django_cfg.backup.api.urls"))]
