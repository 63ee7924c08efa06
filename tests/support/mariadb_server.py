"""A throw-away MariaDB server on a free loopback port."""

from __future__ import annotations

import shutil
import signal
import socket
from contextlib import closing
from pathlib import Path

import pymysql

from tests.support import needs
from tests.support.server_process import ServerProcess, as_server, free_port, give_to_server


class MariaDB:
    """A MariaDB server. User ``root`` with every right, password ``s3cret-root``."""

    USER, PASSWORD = "root", "s3cret-root"

    def __init__(self, folder: Path) -> None:
        """Start a server in *folder*, which does not exist, or take the one that another worker has started there."""
        self.folder, self.socket, self._port = folder, folder / "socket", folder / "port"
        self._tmp = folder / "tmp"  # a server that starts clears this, and one whose tables are in it dies of that
        self._process = ServerProcess(folder, signal.SIGKILL)
        if not self._port.exists():
            self._make()
            self._port.write_text(str(free_port()))
            self.start()
            self._set_up()

    @property
    def port(self) -> int:
        return int(self._port.read_text())

    def _make(self) -> None:
        self._tmp.mkdir(parents=True)
        give_to_server(self.folder)
        give_to_server(self._tmp)
        as_server(
            [
                mariadb_program("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder / 'data'}",
                "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-log-bin",
                "--innodb-log-file-size=8M", "--innodb-flush-method=nosync", "--skip-name-resolve",
                f"--tmpdir={self._tmp}",
            ]
        )  # fmt: skip

    def _set_up(self) -> None:
        with closing(self._connect("")) as connection:
            connection.query(f"SET PASSWORD FOR root@localhost = PASSWORD('{self.PASSWORD}')")
        self.sql(f"CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{self.PASSWORD}'",
                 "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION")  # fmt: skip

    def start(self, *options: str) -> None:
        argv = [
            mariadb_program("mariadbd"), "--no-defaults", f"--datadir={self.folder / 'data'}",
            f"--socket={self.socket}", f"--port={self.port}", "--bind-address=127.0.0.1",
            f"--pid-file={self.folder / 'pid'}", "--skip-log-bin",
            "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync",
            "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--innodb-fast-shutdown=2",
            "--skip-innodb-doublewrite", "--skip-innodb-buffer-pool-dump-at-shutdown", "--character-set-server=utf8mb4",
            "--sync-frm=0", "--key-buffer-size=1M", "--aria-pagecache-buffer-size=1M", f"--tmpdir={self._tmp}",
            *options,
        ]  # fmt: skip
        self._process.start(argv, self._answers)

    def start_again(self) -> None:
        """If it died unexpectedly, its last log lines are printed with the test that fails."""
        print(f"mariadbd has ended: {self._process.last_words()}")
        self.start()

    def stop(self, *, kill: bool = False) -> None:
        self._process.end(signal.SIGKILL if kill else signal.SIGTERM)

    def is_running(self) -> bool:
        """Whether it has been started, has not been stopped and has not died."""
        return self._process.is_running()

    def connect(self, database: str | None = None, user: str = USER, password: str = PASSWORD) -> pymysql.Connection:
        """In autocommit, over TCP."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, database=database, autocommit=True,
            charset="utf8mb4", ssl_disabled=True,
        )  # fmt: skip

    def sql(self, *statements: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Run *statements*, each on its own; the rows of the last one."""
        with closing(self._connect(self.PASSWORD, database)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def settings(self, database: str, **changes: object) -> dict[str, object]:
        """Django's settings of one of its databases. Without TLS: PyMySQL would read all the machine's CAs."""
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": database,
            "USER": self.USER,
            "PASSWORD": self.PASSWORD,
            "HOST": "127.0.0.1",
            "PORT": self.port,
            "OPTIONS": {"ssl_disabled": True},
            **changes,
        }

    def _connect(self, password: str, database: str | None = None) -> pymysql.Connection:
        return pymysql.connect(
            unix_socket=str(self.socket), user="root", password=password, database=database, autocommit=True,
            charset="utf8mb4", ssl_disabled=True,
        )  # fmt: skip

    def _answers(self) -> bool:
        """It greets: it listens long before, and may still end while it recovers."""
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(str(self.socket))
                return bool(probe.recv(1))
        except OSError:
            return False


def mariadb_program(name: str) -> str:
    """The path of one of MariaDB's programs."""
    return shutil.which(name) or needs.missing(f"no MariaDB server is installed: {name} (Debian: mariadb-server)")
