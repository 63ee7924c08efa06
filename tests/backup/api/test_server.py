"""The API of a real project, served by two processes that share a cache, and asked with curl as the docs do."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import needs
from tests.support.api_client import TOKEN
from tests.support.live_admin import LiveAdmin
from tests.support.processes import wait_until
from tests.support.redis_server import RedisServer

PAGE = Path(__file__).parents[3] / "docs" / "http-api.md"
MORE = """
ROOT_URLCONF = "tests.support.api_urls"
CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": {url!r}}}}}
"""


@pytest.fixture
def live_api(tmp_path: Path, books: Path, redis_server: RedisServer) -> Iterator[tuple[LiveAdmin, LiveAdmin]]:
    """Two servers of one project."""
    databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(books)}}
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    tokens = {"tokens": [f"file:{tmp_path / 'token'}"], "requests_per_minute": 1000}
    folder = tmp_path / "project"
    servers = [
        LiveAdmin(folder, databases, more=MORE.format(url=redis_server.url), api=tokens, schedule={"enabled": False})
        for _ in range(2)
    ]
    try:
        for server in servers:
            server.start()
        yield servers[0], servers[1]
    finally:
        for server in servers:
            server.stop()


class Curl:
    """Runs the lines of the docs, on another server and with other names."""

    def __init__(self, server: LiveAdmin) -> None:
        needs.program("curl")
        self._folder, self._address = server.folder, server.address
        (console,) = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        head, function, *self.examples = [line.removeprefix("$ ") for line in console.splitlines()]
        self._before = f"set -e\numask 077\n{head}\n{function.replace('https://shop.example', self._address)}\n"

    def __call__(self, line: str, code: int = 0) -> Any:
        done = subprocess.run(
            ["bash", "-c", self._before + line],
            cwd=self._folder, env={**os.environ, "TOKEN": TOKEN}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)


def test_the_lines_of_the_docs(live_api: tuple[LiveAdmin, LiveAdmin]) -> None:
    curl, other = Curl(live_api[0]), Curl(live_api[1])
    status, create, job = curl.examples
    assert curl(status)["healthy"] is True
    started = curl(create)
    assert started["where"] == "in a process of its own"
    watch = re.sub(r"jobs/\w+", f"jobs/{started['id']}", job)
    wait_until(lambda: other(watch)["has_ended"], 60)  # asked of the other process
    ended = curl(watch)
    assert (ended["phase"], ended["by"]) == ("succeeded", "HTTP API, token 1"), ended
    (found,) = curl("api backups")
    assert ([found["name"]], found["note"]) == (ended["result"]["names"], "before the release")
    assert "is switched off" in curl("api download/latest", code=22)["error"]
    assert curl("api backups/nosuch", code=22)["exit_code"] == 5
    files = [path for path in live_api[0].folder.rglob("*") if path.is_file() and path.name != "token.header"]
    assert [str(path) for path in files if TOKEN.encode() in path.read_bytes()] == []


def test_the_bound_holds_over_both_processes(live_api: tuple[LiveAdmin, LiveAdmin], redis_server: RedisServer) -> None:
    """Each of them sees what the other has counted."""
    one, other = (Curl(server) for server in live_api)
    connection = redis_server.connect()

    def counts() -> list[int]:
        return sorted(int(connection.get(key) or 0) for key in connection.scan_iter("*django_cfg_backup_api*"))

    before = sum(counts())
    for curl in (one, other, one, other):
        curl("api prune")
    assert sum(counts()) == before + 4
    for key in list(connection.scan_iter("*django_cfg_backup_api*")):
        before_minute, minute, who = key.decode().rsplit(":", 2)
        assert TOKEN not in key.decode()
        for later in range(10):  # of these minutes, whichever it is by now
            connection.set(f"{before_minute}:{int(minute) + later}:{who}", 10_000)
    for curl in (one, other):
        assert "more than 1,000 requests in this minute" in curl("api prune", code=22)["error"]
