"""From "back up now" to a restore and its undo, in a real browser: a project on PostgreSQL whose backups are on S3."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import BASE, Visitor
from tests.support.databases import BOOKS, FILL, new_suffix
from tests.support.faulty_s3_proxy import FaultyProxy, Slow
from tests.support.live_admin import PASSWORD, LiveAdmin
from tests.support.postgresql_databases import TEMPLATE
from tests.support.postgresql_server import PostgreSQL
from tests.support.s3_server import S3Server

LARGE = (
    "CREATE TABLE picture (id integer PRIMARY KEY, content bytea)",
    "INSERT INTO picture SELECT i, decode((SELECT string_agg(md5(random()::text || i || j), '') "
    "FROM generate_series(1, 60000) AS j), 'hex') FROM generate_series(1, 30) AS i",
)  # 30 MB that no compression makes smaller


class Shop:
    """The project, its database and its bucket."""

    def __init__(self, live: LiveAdmin, server: PostgreSQL, database: str, stored: Path) -> None:
        self.live, self.server, self.database, self.stored = live, server, database, stored

    def books(self) -> int:
        with self.server.connect(self.database) as connection:
            row = connection.execute("SELECT count(*) FROM book").fetchone()
            assert row
            return int(row[0])

    def sql(self, *statements: str) -> None:
        self.server.sql(*statements, database=self.database)


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(s3_server)
    yield proxy
    proxy.stop()


@pytest.fixture(scope="module")
def shop(
    postgresql: PostgreSQL, s3_server: S3Server, proxy: FaultyProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """The database that is backed up also holds the users and the sessions of the site."""
    database, bucket = f"shop_{new_suffix()}", s3_server.new_bucket()
    postgresql.sql(f"CREATE DATABASE {database} TEMPLATE {TEMPLATE}")
    storage = {**s3_server.parameters(bucket), "s3_endpoint_url": proxy.endpoint}
    live = LiveAdmin(
        tmp_path_factory.mktemp("shop"),
        {"default": postgresql.settings(database)},
        storage=storage,
        tools_dir=str(postgresql.programs),
        web_restore=True,
        web_download=True,
    )
    live.prepare()
    live.start()
    yield Shop(live, postgresql, database, s3_server.data / bucket)
    live.stop()
    with postgresql.connect() as connection:
        names = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [database])
        for (name,) in names.fetchall():
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(autouse=True)
def _full(shop: Shop) -> None:
    """Each test begins with all books, whatever the one before has left."""
    shop.sql(f"{FILL[3]} ON CONFLICT DO NOTHING")


@pytest.fixture
def ada(chromium: Browser, shop: Shop) -> Iterator[Visitor]:
    """A superuser at the browser; nothing on her console is an error."""
    visitor = Visitor(chromium, shop.live, accept_downloads=True)
    yield visitor
    visitor.close()
    assert visitor.errors == []


def back_up(visitor: Visitor, note: str = "") -> str:
    """Make a backup by a click; return its name."""
    page = visitor.open("")
    page.fill("#backup-note", note)
    page.click("button:has-text('Back up')")
    visitor.wait_for_end("Succeeded.")
    return page.locator("main ul a").inner_text()


def answer(page: Page, typed: str, button: str, password: str = PASSWORD) -> None:
    page.fill("#typed", typed)
    page.fill("#password", password)
    page.click(f"button:has-text('{button}')")


def test_from_a_backup_to_a_restore_and_its_undo(ada: Visitor, shop: Shop) -> None:
    page = ada.page
    first, second = back_up(ada), back_up(ada, "before the sale")
    page.click("main ul a")
    page.click("button:has-text('Verify')")
    assert f"{second} was read to its last byte and is good." in ada.wait_for_end("Succeeded.")
    page.click("main ul a")
    page.click("button:has-text('Drill')")
    assert f"{second} was restored and compared" in ada.wait_for_end("Succeeded.")
    page.click("main ul a")
    assert "Proved" in page.inner_text(".backup-state")
    page.fill("#why", "the audit")
    page.click("button:has-text('Pin')")
    page.wait_for_selector("text=the audit")
    delete(page, first)
    shop.sql("DELETE FROM book WHERE id > 3")
    page.click("nav >> text=Restore")
    page.click(f"tr:has-text('newest proved') >> text={second}")
    restore(ada, shop)
    assert shop.books() == BOOKS
    page.click("text=Undo this restore")
    answer(page, shop.database, "Undo the restore")
    ada.wait_for_end("Succeeded.", 120)
    assert shop.books() == 3


def delete(page: Page, name: str) -> None:
    """Delete a backup, after another name was refused."""
    page.goto(f"{BASE}/backup/?name={name}")
    page.click("text=Delete")
    page.fill("#typed", "another name")
    page.click("button:has-text('Delete it')")
    page.wait_for_selector(f"text=To go on, type {name}")
    page.fill("#typed", name)
    page.click("button:has-text('Delete it')")
    page.wait_for_selector(f"text=Deleted: {name}")


def restore(visitor: Visitor, shop: Shop) -> None:
    """Restore what the wizard shows, after a wrong password was refused; the site's own connections are ended."""
    page = visitor.page
    page.check("input[name=disconnect]")
    page.click("button:has-text('Look again')")
    assert "will be as it was on" in page.inner_text(".backup-sentences")
    assert "you may have to log in again" in page.inner_text(".backup-sentences")
    answer(page, shop.database, "Restore default now", password="guess")
    page.wait_for_selector("text=The password is not yours.")
    answer(page, shop.database, "Restore default now")
    visitor.wait_for_end("Succeeded.", 120)


def wait_for_progress(page: Page, pattern: str) -> None:
    page.locator("[data-backup-state]").filter(has_text=re.compile(pattern)).wait_for(timeout=60_000)


def test_a_backup_shows_how_far_it_is_and_can_be_cancelled(ada: Visitor, shop: Shop, proxy: FaultyProxy) -> None:
    page = ada.page
    shop.sql(*LARGE)
    proxy.every("UploadPart", Slow(10))
    try:
        before = sorted(path.name for path in shop.stored.rglob("*"))
        page.goto(f"{BASE}/")
        page.click("button:has-text('Back up')")
        wait_for_progress(page, r"\d MB.*\d MB/s")
        assert page.locator("progress").is_visible()
        job = page.url
        page.goto(f"{BASE}/runs/")
        wait_for_progress(page, r"\(\d.* MB")
        page.goto(job)
        page.click("text=Cancel it")
        page.click("button:has-text('Cancel it')")
        ada.wait_for_end("Cancelled.")
        assert sorted(path.name for path in shop.stored.rglob("*")) == before
    finally:
        proxy.every("UploadPart", lambda exchange: exchange.forward())
        shop.sql("DROP TABLE picture")
    page.goto(f"{BASE}/runs/")
    assert "Cancelled" in page.inner_text("#changelist")


@pytest.mark.parametrize("form", ["stored", "plain"])
def test_a_download_is_the_stored_bytes(ada: Visitor, shop: Shop, form: str) -> None:
    name = back_up(ada)
    page = ada.open(f"download/?name={name}")
    page.check(f"input[value={form}]")
    page.fill("#password", PASSWORD)
    with page.expect_download() as download:
        page.click("button:has-text('Download')")
    content = Path(download.value.path()).read_bytes()
    (manifest,) = shop.stored.rglob(f"{name}.json")
    archive: dict[str, Any] = json.loads(manifest.read_text())["archive"]
    expected = archive["sha256"] if form == "stored" else archive["raw_sha256"]
    assert hashlib.sha256(content).hexdigest() == expected
    if form == "stored":
        assert content == (manifest.parent / archive["key"]).read_bytes()
    assert download.value.suggested_filename.startswith(name)


def test_everything_works_without_javascript(chromium: Browser, shop: Shop) -> None:
    visitor = Visitor(chromium, shop.live, java_script_enabled=False)
    name = back_up(visitor)
    shop.sql("DELETE FROM book WHERE id > 2")
    visitor.open(f"restore/?backup={name}")
    assert shop.books() == 2
    restore(visitor, shop)
    assert shop.books() == BOOKS
    visitor.page.click("text=Undo this restore")
    answer(visitor.page, shop.database, "Undo the restore")
    visitor.wait_for_end("Succeeded.", 120)
    assert shop.books() == 2
    visitor.close()


class Keyboard:
    """A person without a mouse."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def tab_to(self, selector: str) -> None:
        """Press Tab until the element has the focus."""
        for _ in range(150):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"{selector} is never reached by Tab")

    def follow(self, selector: str) -> None:
        self.tab_to(selector)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def write(self, selector: str, text: str) -> None:
        self.tab_to(selector)
        self.page.keyboard.type(text)


def test_a_restore_needs_no_mouse(ada: Visitor, shop: Shop) -> None:
    name = back_up(ada)
    shop.sql("DELETE FROM book WHERE id > 1")
    page, keyboard = ada.open(""), Keyboard(ada.page)
    keyboard.follow(f".backup-tabs a[href$='{BASE}/restore/']")
    keyboard.follow(f"a[href$='?backup={name}']")
    keyboard.tab_to("input[name=disconnect]")
    page.keyboard.press("Space")
    keyboard.follow("form[method=get] button[type=submit]")
    keyboard.write("#typed", shop.database)
    keyboard.write("#password", PASSWORD)
    keyboard.follow("button.backup-danger")
    ada.wait_for_end("Succeeded.", 120)
    keyboard.follow("main a.button")
    keyboard.write("#typed", shop.database)
    keyboard.write("#password", PASSWORD)
    keyboard.follow("button.backup-danger")
    ada.wait_for_end("Succeeded.", 120)
    assert shop.books() == 1
