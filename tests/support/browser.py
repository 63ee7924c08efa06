"""A real Chromium, and what tests do with it in the admin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.support import needs
from tests.support.live_admin import PASSWORD, USER, LiveAdmin

_WATCH = """
document.addEventListener('securitypolicyviolation', violation => {
    console.error(`refused by the policy: ${violation.violatedDirective} ${violation.blockedURI}`);
});
"""
BASE = "/admin/django_cfg_backup/run"


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Debian's Chromium; nothing is downloaded."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=needs.program("chromium"), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """A window of the browser: its page, and the errors that its console has shown."""

    def __init__(self, browser: Browser, live: LiveAdmin, *, log_in: bool = True, **options: Any) -> None:
        self.live = live
        self.errors: list[str] = []
        self.context = browser.new_context(base_url=live.address, **options)
        self.context.set_default_timeout(30_000)
        self.page: Page = self.context.new_page()
        self.page.add_init_script(_WATCH)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        if log_in:
            self.log_in()

    def _note(self, message: ConsoleMessage) -> None:
        place = message.location.get("url", "")
        if message.type == "error" and not place.endswith("/favicon.ico"):  # a browser asks for it on its own
            self.errors.append(f"{message.text} {place}")

    def log_in(self) -> None:
        self.page.goto("/admin/login/?next=/admin/")
        self.page.fill("#id_username", USER)
        self.page.fill("#id_password", PASSWORD)
        self.page.press("#id_password", "Enter")
        self.page.wait_for_url("**/admin/")

    def open(self, path: str) -> Page:
        self.page.goto(f"{BASE}/{path}")
        return self.page

    def wait_for_end(self, text: str, seconds: int = 60) -> str:
        """Wait until the page of a job says *text*; return what the page says."""
        self.page.get_by_text(text).first.wait_for(timeout=seconds * 1000)
        return self.page.inner_text("main")

    def close(self) -> None:
        self.context.close()
