"""The pages of the admin: how everything is, all backups, their history, a restore step by step.

Django imports this package when the admin looks for what to register. One file for each page.
"""

from __future__ import annotations

from django.contrib import admin

from django_cfg.backup.admin.runs import RunAdmin
from django_cfg.backup.models import Run

admin.site.register(Run, RunAdmin)
if admin.site.index_template is None:
    admin.site.index_template = "django_cfg_backup/index.html"  # the index as it is, with one sentence above it
