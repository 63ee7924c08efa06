"""Where a local storage must not be: in a folder that a web server shows to the world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.storage.local import LocalStorage


def refuse_served_folder(project: Project) -> None:
    """
    :raises ConfigurationError: the local storage lies inside MEDIA_ROOT, STATIC_ROOT or a static folder.
    """
    storage = project.storage
    if not isinstance(storage, LocalStorage):
        return
    root = storage.root.resolve()
    for name, folder in _served_folders():
        if root.is_relative_to(folder):
            raise ConfigurationError(
                f"BackupStorageConfig.local_path ({root}) lies inside {name} ({folder}), which web servers show to the "
                "world: move it out of there."
            )


def _served_folders() -> Iterator[tuple[str, Path]]:
    for name in ("MEDIA_ROOT", "STATIC_ROOT"):
        if folder := getattr(settings, name, None):
            yield name, Path(folder).resolve()
    for entry in getattr(settings, "STATICFILES_DIRS", ()):
        folder = entry[1] if isinstance(entry, list | tuple) else entry
        yield "STATICFILES_DIRS", Path(folder).resolve()
