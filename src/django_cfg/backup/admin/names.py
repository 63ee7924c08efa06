"""What has to be typed before data is replaced."""

from __future__ import annotations

from pathlib import Path

from django.http import Http404

from django_cfg.backup.engines.sqlite.connection import get_database_path
from django_cfg.backup.services.project.project import Project


def require_alias(project: Project, alias: str) -> str:
    """
    :raises Http404: settings.DATABASES has no such alias.
    """
    if alias not in project.databases:
        raise Http404(f"There is no database {alias!r}.")
    return alias


def database_name(project: Project, alias: str) -> str:
    """Return the NAME of the database *alias*; of a SQLite database the name of its file.

    :raises UsageError: there is no such alias.
    """
    database = project.database(alias)
    if project.engine(alias).format == "sqlite3":
        return Path(get_database_path(database)).name
    name = database.connection.get("OPTIONS", {}).get("dbname") or database.settings.get("OPTIONS", {}).get("dbname")
    return str(name or database.settings.get("NAME") or alias)
