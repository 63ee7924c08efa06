"""A throw-away Redis on a free loopback port."""

from __future__ import annotations

import subprocess
from pathlib import Path

import redis

from tests.support import needs
from tests.support.processes import wait_until
from tests.support.server_process import end, free_port


class RedisServer:
    """Keeps nothing on disk: stopped and started again, it has forgotten everything."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def connect(self) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port)

    def start(self) -> None:
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        forgetful = ["--save", "", "--appendonly", "no"]
        argv = [needs.program("redis-server"), *where, *forgetful, "--logfile", str(self.folder / "redis.log")]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def stop(self) -> None:
        end(self._process)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.folder / "redis.log").read_text()
        with self.connect() as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False
