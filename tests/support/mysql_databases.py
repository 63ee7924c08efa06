"""A database of a test's own on the MariaDB server, and what a test wants to know of it."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pymysql

from tests.support.databases import Server, new_suffix
from tests.support.django_project import Site
from tests.support.mariadb_server import MariaDB, mariadb_program
from tests.support.processes import children

PASSWORD = "pw"  # of the users that tests make


class MySQLServer(Server):
    quote = "`"
    odd = "Ödd name's 50% ☃;.x"  # nothing beyond the Basic Multilingual Plane

    def __init__(self, site: Site, server: MariaDB) -> None:
        super().__init__(site)
        self.server, self._suffix = server, new_suffix()
        self.databases = {alias: f"{alias}_{self._suffix}" for alias in ("default", "empty")}
        self._users: list[str] = []
        for name in self.databases.values():
            server.sql(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        self.use()
        site.configure()
        self.fill()

    def use(self, **changes: Any) -> None:
        """Let the project's settings of both databases be those of root, but for *changes*."""
        aliases = {alias: self.server.settings(name, **changes) for alias, name in self.databases.items()}
        self.site.use_databases(**aliases)

    def act_as(self, user: str, **changes: Any) -> None:
        """Let the project be this user."""
        self.use(USER=user.rpartition("@")[0].strip("`"), PASSWORD=PASSWORD, **changes)

    def run(self, *statements: str, alias: str = "default") -> list[tuple[Any, ...]]:
        with closing(self.connect(alias)) as connection:
            connection.begin()
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                found = list(cursor.fetchall())
            connection.commit()
            return found

    def script(self, text: str, alias: str = "default") -> None:
        """Run SQL as MariaDB's own client does, with DELIMITER and all."""
        self.tool("mariadb", "--comments", self.databases[alias], stdin=text)

    def connect(self, alias: str = "default") -> pymysql.Connection:
        return self.server.connect(self.databases[alias])

    def table_names(self, alias: str = "default") -> list[str]:
        found = self.run("SHOW FULL TABLES WHERE Table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')", alias=alias)
        return sorted(name for name, _ in found)

    def schemas(self) -> set[str]:
        """The schemas of this test besides its two databases."""
        name = self.databases["default"]
        found = {name for (name,) in self.server.sql("SHOW DATABASES")}
        return {other for other in found if str(other).startswith(f"{name}__")}  # type: ignore[misc]

    def text(self, alias: str = "default") -> list[str]:
        """Everything in the database - structure, code, rows - as mariadb-dump writes it."""
        name = self.databases[alias]
        options = ["--routines", "--events", "--triggers", "--hex-blob", "--skip-extended-insert", "--dump-history"]
        done = self.tool("mariadb-dump", "--single-transaction", "--skip-dump-date", *options, name)
        lines = done.stdout.replace(f"`{name}`.", "").replace(f"{name}.", "").splitlines()
        charset = self.server.sql(f"SHOW CREATE DATABASE {name}")[0][1]
        return [line for line in lines if not re.match(r"-- (Host:|Dumping (events|routines))", line)] + [
            str(charset).replace(name, "here")
        ]

    def tool(self, program: str, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        where = ["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", f"--port={self.server.port}", "--user=root",
                 "--default-character-set=utf8mb4"]  # fmt: skip
        argv = [mariadb_program(program), *where, *arguments]
        done = subprocess.run(argv, input=stdin, env=self.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done

    def environment(self) -> dict[str, str]:
        return {**os.environ, "MYSQL_PWD": MariaDB.PASSWORD}

    def user(self, name: str, *grants: str, password: str = PASSWORD) -> str:
        """A user that goes with the databases; its name begins so. Of *grants* ``{db}`` is the name of ``default``."""
        user, _, host = name.rpartition("@")
        name = f"{user[:-1]} {self._suffix}`@{host}" if user.endswith("`") else f"{user}_{self._suffix}@{host}"
        secret = password.replace("\\", "\\\\").replace("'", "\\'")
        self.server.sql(f"CREATE OR REPLACE USER {name} IDENTIFIED BY '{secret}'")
        self._users.append(name)
        for grant in grants:
            self.server.sql(f"GRANT {grant} TO {name}".replace("{db}", self.databases["default"]))
        return name

    def stored(self) -> list[str]:
        return self.site.stored() if self.site.backups.exists() else []

    def drop(self) -> None:
        self.site.close()
        for name in (*self.databases.values(), *self.schemas()):
            self.server.sql(f"DROP DATABASE IF EXISTS `{name}`")
        for name in self._users:
            self.server.sql(f"DROP USER IF EXISTS {name}")


@contextmanager
def locked(server: MySQLServer, table: str) -> Iterator[None]:
    """A block during which another session keeps everybody from *table*."""
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLES {table} WRITE")
        yield


def fail_unless_equal(before: Sequence[str], after: Sequence[str]) -> None:
    """Compare two texts of a database by what one has and the other has not."""
    if list(before) == list(after):
        return
    lost, new = Counter(before) - Counter(after), Counter(after) - Counter(before)
    told = "\n".join([*("- " + line for line in lost), *("+ " + line for line in new)])
    raise AssertionError(told or "the same lines in another order")


@contextmanager
def beside(action: Callable[[], object]) -> Iterator[None]:
    """A block during which *action* is carried out by another thread, whose error is the block's."""
    errors: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001  raised again below
            errors.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def child_running(program: str) -> int | None:
    """The process id of our own child that runs *program* on a database."""
    for pid in children():
        line = command_line(pid)
        if line.partition("\0")[0].endswith(f"/{program}") and "--defaults-file" in line:
            return pid
    return None


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
