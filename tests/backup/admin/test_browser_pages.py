"""Every page in a real browser: nothing the policy refuses, no barrier, no page that is wider than a telephone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.support.admin_history import FILL
from tests.support.browser import BASE, Visitor
from tests.support.live_admin import LiveAdmin

SCHEMES, WIDTHS = ("light", "dark"), (390, 1500)  # pixels
# What the frame of the admin is made of is not ours: each look is searched below its own content.
CONTENT = {"stock": "#content, .breadcrumbs", "unfold": "#content"}


@pytest.fixture(scope="module", params=["stock", "unfold"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAdmin]:
    """A project with a history of every kind, in one of the two looks."""
    folder = tmp_path_factory.mktemp(request.param)
    files = {alias: str(folder / f"{alias}.sqlite3") for alias in ("default", "stock_of_the_shop")}
    databases = {alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": name} for alias, name in files.items()}
    live = LiveAdmin(folder, databases, unfold=request.param == "unfold", web_restore=True, web_download=True)
    live.prepare()
    live.manage("shell", "--verbosity", "0", "-c", FILL)
    live.start()
    yield live
    live.stop()


def look_of(live: LiveAdmin) -> str:
    return live.folder.name.rstrip("0123456789")


def addresses(live: LiveAdmin) -> dict[str, str]:
    """The address of each page, by a name for the report."""
    known: dict[str, Any] = json.loads((live.folder / "names.json").read_text())
    new, old, job = known["new"], known["old"], known["job"]
    pages = {
        "overview": "", "one database": "?database=default", "backups": "backups/", "backup": f"backup/?name={new}",
        "runs": "runs/", "run": f"{known['run']}/change/", "running": f"{known['running']}/change/",
        "retention": "retention/", "simulated": "retention/?keep_daily=1&keep_weekly=0&keep_monthly=0",
        "check": "check/", "pick": "restore/", "restore": f"restore/?backup={new}",
        "undo": "undo/?database=default&old_data=db.before", "download": f"download/?name={new}",
        "delete": f"delete/?name={old}", "damaged": "delete/?name=damaged_one", "protected": f"delete/?name={new}",
        "job": f"job/{job}/", "cancel": f"job/{job}/cancel/",
    }  # fmt: skip
    return {"index": "/admin/", **{name: f"{BASE}/{path}" for name, path in pages.items()}}


def test_no_page_has_a_barrier_or_is_wider_than_the_window(chromium: Browser, live: LiveAdmin) -> None:
    """By axe, whose serious and critical findings stop people; in both colour schemes, on a telephone and a desk.

    Each page in both schemes and at both widths, and each scheme at each width on every other page.
    """
    found, pages = [], list(addresses(live).items())
    for row, scheme in enumerate(SCHEMES):
        for column, width in enumerate(WIDTHS):
            visitor = Visitor(chromium, live, color_scheme=scheme, viewport={"width": width, "height": 900})
            for name, address in pages[(row + column) % 2 :: 2]:
                visitor.page.goto(address)
                place = (name, scheme, width)
                scrolled = visitor.page.evaluate("document.documentElement.scrollWidth")
                found += [(*place, f"{scrolled} pixels wide")] if scrolled > width else []
                found += [(*place, finding) for finding in findings(visitor, CONTENT[look_of(live)])]
            visitor.close()
    assert found == []


def findings(visitor: Visitor, selector: str) -> list[str]:
    """Return what axe finds in the page that is serious or critical."""
    present = [part for part in selector.split(", ") if visitor.page.locator(part).count()]
    context = {"include": [[part] for part in present]} if present else None  # the page of a job has no frame
    result = Axe().run(visitor.page, context).response
    assert result["passes"] or result["violations"] or result["incomplete"]
    return [
        f"{violation['id']}: {node['target']}"
        for violation in result["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("live", ["stock"], indirect=True, scope="module")
def test_no_page_breaks_a_strict_policy(chromium: Browser, live: LiveAdmin) -> None:
    """With ``default-src 'self'`` no script, style or image of any page is refused. Unfold's own scripts need more."""
    visitor = Visitor(chromium, live)
    for name, address in addresses(live).items():
        answer = visitor.page.goto(address)
        assert answer is not None
        assert answer.headers["content-security-policy"] == "default-src 'self'", name
        visitor.page.wait_for_load_state("networkidle")
    assert visitor.errors == []
    visitor.page.evaluate("document.body.setAttribute('style', 'color: red')")
    visitor.page.wait_for_timeout(200)
    assert any("style-src" in error for error in visitor.errors), "the test sees what is refused"
    visitor.close()
