"""Archives that other programs made, as they are found on the day of the change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.django_project import Answer, Site

Adopt = Callable[..., Answer]


@pytest.fixture
def adopt(site: Site) -> Adopt:
    """``backup_adopt`` of a file or a key."""

    def run(origin: object, *arguments: str, database: str = "default") -> Answer:
        return site.call("backup_adopt", str(origin), f"--database={database}", "--yes", *arguments)

    return run


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of the old archives."""
    folder = tmp_path / "old"
    folder.mkdir()
    return folder
