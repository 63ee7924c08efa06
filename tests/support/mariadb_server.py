"""A throw-away MariaDB server on a free loopback port, its data in a temporary folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pymysql

from tests.support import needs
from tests.support.server_process import as_server, end, free_port, give_to_server, unprivileged


class MariaDB:
    """A MariaDB server. User ``root`` with every right, password ``s3cret-root``."""

    USER, PASSWORD = "root", "s3cret-root"

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.socket = folder / "socket"
        self._tmp = folder / "tmp"  # a server that starts clears this, and one whose tables are in it dies of that
        self._tmp.mkdir(parents=True)
        give_to_server(folder)
        give_to_server(self._tmp)
        self._process: subprocess.Popen[bytes] | None = None
        as_server(
            [
                mariadb_program("mariadb-install-db"), "--no-defaults", f"--datadir={folder / 'data'}",
                "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-log-bin",
                "--innodb-log-file-size=8M", "--innodb-flush-method=nosync", "--skip-name-resolve",
                f"--tmpdir={self._tmp}",
            ]
        )  # fmt: skip
        self.start()
        try:
            self._set_up()
        except BaseException:
            self.stop(kill=True)
            raise

    def _set_up(self) -> None:
        with closing(self._connect("")) as connection:
            connection.query(f"SET PASSWORD FOR root@localhost = PASSWORD('{self.PASSWORD}')")
        self.sql(f"CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{self.PASSWORD}'",
                 "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION")  # fmt: skip

    def start(self, *options: str) -> None:
        """Where it died by itself, its last words are printed, beside the test that fails of that."""
        if self._process is not None:
            print(f"mariadbd ended with {self._process.poll()}: {(self.folder / 'log.err').read_text()[-8000:]}")
        argv = [
            mariadb_program("mariadbd"), "--no-defaults", f"--datadir={self.folder / 'data'}",
            f"--socket={self.socket}", f"--port={self.port}", "--bind-address=127.0.0.1",
            f"--pid-file={self.folder / 'pid'}", f"--log-error={self.folder / 'log.err'}", "--skip-log-bin",
            "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync",
            "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--innodb-fast-shutdown=2",
            "--skip-innodb-doublewrite", "--skip-innodb-buffer-pool-dump-at-shutdown", "--character-set-server=utf8mb4",
            "--sync-frm=0", "--key-buffer-size=1M", "--aria-pagecache-buffer-size=1M", f"--tmpdir={self._tmp}",
            *options,
        ]  # fmt: skip
        self._process = subprocess.Popen(
            unprivileged(argv), cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mariadbd does not start: {(self.folder / 'log.err').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self, *, kill: bool = False) -> None:
        if self._process is None:
            return
        if kill:
            self._process.kill()
            self._process.wait()
        else:
            end(self._process, within=30)
        self._process = None

    def is_running(self) -> bool:
        """Whether it has been started, has not been stopped and has not died by itself."""
        return self._process is not None and self._process.poll() is None

    def connect(self, database: str | None = None, user: str = USER, password: str = PASSWORD) -> pymysql.Connection:
        """In autocommit, over TCP."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, database=database, autocommit=True,
            charset="utf8mb4",
        )  # fmt: skip

    def sql(self, *statements: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Run *statements*, each on its own; the rows of the last one."""
        with closing(self._connect(self.PASSWORD, database)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def settings(self, database: str, **changes: object) -> dict[str, object]:
        """Django's settings of one of its databases."""
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": database,
            "USER": self.USER,
            "PASSWORD": self.PASSWORD,
            "HOST": "127.0.0.1",
            "PORT": self.port,
            **changes,
        }

    def _connect(self, password: str, database: str | None = None) -> pymysql.Connection:
        return pymysql.connect(
            unix_socket=str(self.socket), user="root", password=password, database=database, autocommit=True,
            charset="utf8mb4",
        )  # fmt: skip

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
        except OSError:
            return False
        return True


def mariadb_program(name: str) -> str:
    """The path of one of MariaDB's programs."""
    return shutil.which(name) or needs.missing(f"no MariaDB server is installed: {name} (Debian: mariadb-server)")
