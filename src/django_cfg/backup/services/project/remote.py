"""What is usable and yet unwise in the configuration of a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings

from django_cfg.backup.services.project.project import Project


@dataclass(frozen=True)
class Unwise:
    """Something to mend: what it is, what to do, and the number of its system check."""

    text: str
    hint: str
    number: str


def unwise_settings(project: Project) -> Iterator[Unwise]:
    """Asks nobody, and opens no connection."""
    if project.config.storage.backend != "s3":
        return
    if project.storage.sends_in_the_clear:
        yield Unwise(
            f"Backups go to {project.storage.location} over plain HTTP: everybody on the line can read them.",
            "Write https:// in BackupStorageConfig.s3_endpoint_url.",
            "W020",
        )
    if project.config.project is None and not getattr(settings, "PROJECT_NAME", ""):
        yield Unwise(
            f"Backups in {project.storage.location} are told apart by the project's name, which is only guessed: "
            f"{project.name!r}. Two projects of one name in one bucket are one source.",
            "Set BackupConfig.project.",
            "W021",
        )
