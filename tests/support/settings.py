"""The project the tests run in. Its databases are files of the test that uses them."""

from pathlib import Path

from django_cfg import BackupConfig

BASE_DIR = Path(__file__).parent
SECRET_KEY = "only for tests"
DEBUG = False
ENV_MODE = "test"
PROJECT_NAME = "tests"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django_cfg.backup",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
BACKUP = BackupConfig(enabled=True)
