"""A real project with tickers and RQ workers of its own, each a process, and one clock for all of them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.real_project import IMPORTED_FROM, RealProject
from tests.support.redis_server import RedisServer
from tests.support.server_process import end

SETTINGS = """
from datetime import datetime
from django_cfg.backup.services.project import clock

INSTALLED_APPS += ["django_rq"]
RQ_QUEUES = {{name: {{"URL": {url!r}}} for name in ("default", "backups")}}
DATABASES.update({{
    f"shop{{n}}": {{"ENGINE": "django.db.backends.sqlite3", "NAME": str(BASE_DIR / f"shop{{n}}.sqlite3")}}
    for n in range({shops})
}})
if (BASE_DIR / "now").exists():
    clock.now = lambda: datetime.fromisoformat((BASE_DIR / "now").read_text())
"""
# Ticks as fast as it can, until it is ended.
TICKER = """
import os, time
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django
django.setup()
from django.db import connections
from django_cfg.backup.services.schedule.tick import tick
while True:
    for problem in tick().problems:
        print(problem, flush=True)
    connections.close_all()
    time.sleep(0.05)
"""


class Fleet:
    """The project; what it starts is ended with it."""

    def __init__(self, folder: Path, database: Path, redis: RedisServer, *, shops: int = 0, more: str = "",
                 **parameters: Any) -> None:  # fmt: skip
        with redis.connect() as client:
            client.flushall()
        parameters = {"schedule": {"cron": "0 * * * *", "queue": "backups"}, "compression": "none", **parameters}
        settings = SETTINGS.format(url=redis.url, shops=shops) + more
        self.project = RealProject(folder, database, settings, **parameters)
        self.folder, self.redis = folder, redis
        (folder / "ticker.py").write_text(TICKER)
        for number in range(shops):
            shutil.copy(database, folder / f"shop{number}.sqlite3")
        self._running: list[subprocess.Popen[bytes]] = []

    def set_clock(self, now: datetime) -> None:
        (self.folder / "now.new").write_text(now.isoformat())
        (self.folder / "now.new").rename(self.folder / "now")

    def advance(self, now: datetime, **by: float) -> datetime:
        self.set_clock(now + timedelta(**by))
        return now + timedelta(**by)

    def start_ticker(self) -> subprocess.Popen[bytes]:
        return self._start("ticker.py")

    def start_worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self._start("manage.py", "rqworker", "backups", "--verbosity=0", *arguments)

    def work_off(self) -> None:
        """One worker that works until its queue is empty, and ends."""
        worker = self.start_worker("--burst")
        assert worker.wait(60) == 0

    def rows(self, columns: str = "database, slot, state", where: str = "1") -> list[tuple[Any, ...]]:
        query = f"SELECT {columns} FROM django_cfg_backup_run WHERE {where} ORDER BY id"
        with closing(sqlite3.connect(f"file:{self.project.database}?mode=ro", uri=True, timeout=20)) as connection:
            return connection.execute(query).fetchall()

    def manifests(self) -> list[Path]:
        return sorted(path for path in self.project.backups.rglob("*.json") if not path.name.startswith("."))

    def log(self) -> str:
        return (self.folder / "log").read_text() if (self.folder / "log").exists() else ""

    def end(self) -> None:
        for process in self._running:
            end(process)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder,
                env={**os.environ, "PATH": self.project.path, "PYTHONPATH": IMPORTED_FROM},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._running.append(process)
        return process


MakeFleet = Callable[..., AbstractContextManager[Fleet]]


@contextmanager
def fleet(*arguments: Any, **options: Any) -> Iterator[Fleet]:
    made = Fleet(*arguments, **options)
    try:
        yield made
    finally:
        made.end()
