"""The project of a team, in production: a shop on PostgreSQL, its backups in S3, and all that watches them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.live_admin import LiveAdmin
from tests.support.postgresql_databases import PostgreSQLServer

MODELS = """\
from django.db import models

class Customer(models.Model):
    email = models.CharField(max_length=100)
"""
INITIAL = """\
from django.db import migrations, models

class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Customer", [
            ("id", models.BigAutoField(primary_key=True)), ("email", models.CharField(max_length=100)),
        ]),
    ]
"""
LOSES_ADDRESSES = """\
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RunSQL("UPDATE shop_customer SET email = ''", migrations.RunSQL.noop)]
"""
SCRUB = "UPDATE shop_customer SET email = 'customer-' || id || '@example.com';"
URLS = """\
from django.contrib import admin
from django.urls import include, path

from django_cfg.backup.services.monitoring import metrics

metrics._BELIEVED_FOR = 1.0  # so that nothing has to wait for half a minute
urlpatterns = [
    path("admin/", admin.site.urls),
    path("backups/", include("django_cfg.backup.urls")),
    path("backups/api/", include("django_cfg.backup.api.urls")),
]
"""
MORE = """\
import django

ENV_MODE, PROJECT_NAME = "production", "shop"
INSTALLED_APPS += ["shop"]
ROOT_URLCONF = "urls"
ADMINS = ["ada@example.org"] if django.VERSION >= (6, 0) else [("Ada", "ada@example.org")]
_backend, _folder = "django.core.mail.backends.filebased.EmailBackend", str(BASE_DIR / "mails")
if django.VERSION < (6, 1):
    EMAIL_BACKEND, EMAIL_FILE_PATH = _backend, _folder
else:
    MAILERS = {"default": {"BACKEND": _backend, "OPTIONS": {"file_path": _folder}}}
"""
CUSTOMERS = 500
_DATABASES = {"default": "default", "staging": "empty"}  # those of the server, by alias


class TeamProject(LiveAdmin):
    """The shop, with its first migration applied and its customers in it.

    :param parameters: more of BACKUP.
    """

    def __init__(self, folder: Path, server: PostgreSQLServer, **parameters: Any) -> None:
        app = folder / "shop"
        (app / "migrations").mkdir(parents=True)
        for name, text in {"__init__": "", "models": MODELS, "migrations/__init__": "",
                           "migrations/0001_initial": INITIAL}.items():  # fmt: skip
            (app / f"{name}.py").write_text(text)
        (app / "scrub.sql").write_text(SCRUB)
        (folder / "urls.py").write_text(URLS)
        self.server, self.role = server, server.role("shop")
        for alias in server.databases:
            server.make_again(alias, f"OWNER {self.role}")
        server.server.sql(f"ALTER ROLE {self.role} CREATEDB")
        user = {"USER": self.role, "PASSWORD": "pw"}
        databases = {alias: server.server.settings(server.databases[of], **user) for alias, of in _DATABASES.items()}
        super().__init__(folder, databases, more=f"{MORE}BACKUP = BackupConfig(enabled=True, **{parameters!r})\n")
        self.prepare()
        self.fill()

    def fill(self) -> None:
        rows = f"SELECT 'ada' || i || '@home.example' FROM generate_series(1, {CUSTOMERS}) i"
        self.server.run(f"INSERT INTO shop_customer (email) {rows}")

    def addresses(self, alias: str) -> set[str]:
        return {email for (email,) in self.server.run("SELECT email FROM shop_customer", alias=_DATABASES[alias])}

    def release(self) -> None:
        """The next version of the code has a migration, which loses data."""
        (self.folder / "shop" / "migrations" / "0002_lose_addresses.py").write_text(LOSES_ADDRESSES)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def mails(self) -> str:
        return "".join(path.read_text() for path in sorted((self.folder / "mails").glob("*")))
