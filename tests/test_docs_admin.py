"""docs/admin.md says what the pages and their permissions are."""

from __future__ import annotations

import re
from pathlib import Path

from django_cfg.backup.models import Run
from django_cfg.backup.services.monitoring.summary import Verdict

PAGE = Path("docs/admin.md").read_text(encoding="utf-8")


def test_the_permissions() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert listed == [codename for codename, _ in Run._meta.permissions]
    assert Run._meta.default_permissions == ()


def test_the_words_worst_first() -> None:
    listed = re.findall(r"^\| ([A-Z][a-z ]+) \|", PAGE.partition("| Word |")[2].partition("Below it")[0], re.MULTILINE)
    assert listed == [str(word) for word in Verdict]


def test_the_pictures_exist() -> None:
    for page in (Path("README.md"), Path("docs/admin.md")):
        for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / picture).stat().st_size < 150_000, "pictures are few and small"
