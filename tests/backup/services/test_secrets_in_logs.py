"""Libraries that are imported only when a notification is sent, and that log the URLs they call."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.backup.services.project.secrets import keep_secrets_out_of_logs
from tests.support.notification_servers import WebServer

SECRET = "canary-7c1d"
FIRST = f"""
import logging
logging.basicConfig(level=logging.DEBUG)
import django
from django.conf import settings
settings.configure(SECRET_KEY="x", BASE_DIR="FOLDER", INSTALLED_APPS=["django_cfg.backup"], DATABASES={{}}, BACKUP={{
    "enabled": True, "notify_urls": ["json://127.0.0.1:PORT/{SECRET}"], "heartbeat_url": "http://127.0.0.1:PORT/{SECRET}"}})
django.setup()
from django.core.management import call_command
call_command("backup_check", "--notify")
"""


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.stop()


def test_the_first_notification_of_a_process(web: WebServer, tmp_path: Path) -> None:
    script = FIRST.replace("PORT", str(web.port)).replace("FOLDER", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    printed = done.stdout + done.stderr
    assert "urllib3.connectionpool" in printed, "what is looked at was logged"
    assert SECRET not in printed
    assert "***" in printed


def test_a_block_within_a_block_and_a_factory_of_the_project(caplog: pytest.LogCaptureFixture) -> None:
    made: list[str] = []
    earlier = logging.getLogRecordFactory()

    def count(*arguments: object, **options: object) -> logging.LogRecord:
        record = earlier(*arguments, **options)
        made.append(record.name)
        return record

    logging.setLogRecordFactory(count)
    try:
        with caplog.at_level("DEBUG"), keep_secrets_out_of_logs({"first-canary"}):
            with keep_secrets_out_of_logs({"other-canary"}):
                logging.getLogger("made.just.now").debug("first-canary %s", "other-canary")
            logging.getLogger("made.later").debug("first-canary %s", "other-canary")
        logging.getLogger("made.later").warning("first-canary other-canary")
    finally:
        logging.setLogRecordFactory(earlier)
    assert [record.getMessage() for record in caplog.records] == [
        "*** ***",
        "*** other-canary",
        "first-canary other-canary",
    ]
    assert made == ["made.just.now", "made.later", "made.later"]


def test_records_that_cannot_be_formatted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"), keep_secrets_out_of_logs({"first-canary"}):
        logging.getLogger("broken").debug("%d", "first-canary")
        try:
            raise ValueError("first-canary")  # noqa: TRY301
        except ValueError:
            logging.getLogger("broken").exception("failed")
    assert "first-canary" not in caplog.text
    assert "ValueError: ***" in caplog.text


def test_many_threads(caplog: pytest.LogCaptureFixture) -> None:
    """Blocks that begin and end in any order hide what is theirs, and leave nothing behind."""

    def log(number: int) -> None:
        for _ in range(50):
            with keep_secrets_out_of_logs({f"canary-no-{number}"}):
                logging.getLogger("many").warning("canary-no-%d", number)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "canary-no" not in caplog.text
    logging.getLogger("many").warning("canary-no-1")
    assert "canary-no-1" in caplog.text
