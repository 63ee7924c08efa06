"""A backup that fails."""

from __future__ import annotations

from typing import Any

import pytest

from django_cfg.backup.errors import BackupError
from tests.support.django_project import Site

BROKEN = [{"alias": "default", "exclude_tables": ["nosuch"]}]


def fail(site: Site, **parameters: Any) -> None:
    site.configure(databases=BROKEN, **parameters)
    with pytest.raises(BackupError):
        site.create()
