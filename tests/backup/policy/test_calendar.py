"""docs/retention.md shows what the rules really do."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from django_cfg.backup.manifest import Manifest
from tests.support import retention_calendar as calendar_page

PAGE = Path(__file__).parents[3] / "docs" / "retention.md"


def test_the_calendar_of_the_page_is_what_is_decided() -> None:
    shown = re.search(r"<!-- calendar -->\n```text\n(.*?)\n```\n<!-- end -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown
    assert shown[1] == calendar_page.render()


def test_what_the_page_says_of_the_next_night_is_so() -> None:
    before, after = calendar_page.decisions(), calendar_page.decisions(date(2025, 1, 16))
    assert [day for day, d in before.items() if d.keep and not after[day].keep] == [date(2025, 1, 9)]
    assert str(after[date(2025, 1, 15)]) == "one of 7 days: 2025-01-15"


def test_a_prune_each_night_leaves_what_one_prune_at_the_end_leaves() -> None:
    left: list[Manifest] = []
    for tonight in calendar_page.nights(calendar_page.LAST):
        made = calendar_page.decide([*left, tonight])
        left = [decision.manifest for decision in reversed(made) if decision.keep]
    at_the_end = [day for day, decision in calendar_page.decisions().items() if decision.keep]
    assert [manifest.started_at.date() for manifest in reversed(left)] == at_the_end
