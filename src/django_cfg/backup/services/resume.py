"""Finishing what a restore that was killed had begun to switch."""

from __future__ import annotations

from django_cfg.backup.engines.base import Switched
from django_cfg.backup.errors import UsageError
from django_cfg.backup.services.connections import close_connections
from django_cfg.backup.services.project import Project, current_project


def resume_restore(alias: str | None = None) -> tuple[str, Switched]:
    """Finish the interrupted switch of the database *alias*; None: of the one that there is.

    :returns: the alias, and what the restore leaves behind.
    :raises UsageError: there is nothing to finish, or several databases and none is named.
    """
    project = current_project()
    alias = alias or _only_one(project)
    engine = project.engine(alias)
    close_connections(project, engine)
    switched = engine.resume()
    if switched is None:
        raise UsageError(
            f"No restore of the database {alias!r} was interrupted while it switched, so there is nothing to resume: "
            "it is wholly as it was, or wholly restored."
        )
    return alias, switched


def _only_one(project: Project) -> str:
    aliases = project.aliases()
    if len(aliases) != 1:
        raise UsageError(f"There are several databases ({', '.join(aliases)}): choose one with --database.")
    return aliases[0]
