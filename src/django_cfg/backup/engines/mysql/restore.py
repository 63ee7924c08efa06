"""The restore: into a scratch schema and then by a switch, or in place where no scratch schema may be made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django_cfg.backup.engines.base import Database, Restoration
from django_cfg.backup.engines.mysql.connect import connected
from django_cfg.backup.engines.mysql.inplace import InPlace
from django_cfg.backup.engines.mysql.load import Loader
from django_cfg.backup.engines.mysql.optionfile import option_file
from django_cfg.backup.engines.mysql.program import options_for
from django_cfg.backup.engines.mysql.session import Session
from django_cfg.backup.engines.mysql.tools import client_tool
from django_cfg.backup.errors import RestoreRefused
from django_cfg.backup.manifest import Manifest

_NAMES = {"mariadb": "MariaDB", "mysql": "MySQL"}


@contextmanager
def restoring(database: Database, manifest: Manifest) -> Iterator[Restoration]:
    """A restore of *database*, prepared and not begun."""
    with connected(database) as session:
        _refuse_another_vendor(database, session, manifest)
        tool = client_tool(session.vendor, database.tools_dir, f"To restore the database {database.alias!r}")
        with option_file(options_for(database, session, tool)) as file:
            yield InPlace(database, session, Loader(tool, file, session.database))


def _refuse_another_vendor(database: Database, session: Session, manifest: Manifest) -> None:
    """Types, collations and the text of routines differ: what loads may not be what was backed up."""
    if manifest.engine.vendor != session.vendor:
        raise RestoreRefused(
            f"{manifest.name} is a backup of a {_NAMES.get(manifest.engine.vendor, manifest.engine.vendor)} database, "
            f"and {database.alias!r} is on a {_NAMES[session.vendor]} server. The two have grown apart: restore it "
            "onto its own kind. To move the data all the same, unpack the archive (docs/restore-by-hand.md) and "
            "load it by hand."
        )
