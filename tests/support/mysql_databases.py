"""A database of a test's own on the MariaDB server, and what a test wants to know of it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pymysql

from tests.support.databases import DatabaseServer, new_suffix
from tests.support.django_project import Site
from tests.support.mariadb_server import MariaDB, mariadb_program

PASSWORD = "pw"  # of the users that tests make


class MySQLServer(DatabaseServer):
    server: MariaDB
    dump_program, restore_program = "mariadb-dump", "mariadb"
    many_books = "INSERT INTO book SELECT seq, REPEAT('x', 90), 1 FROM seq_1000_to_40000"
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
                found = list(cursor.fetchall()) if statements else []
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

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """A block during which another session keeps all others from *table*."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLES {table} WRITE")
            yield

    @contextmanager
    def connected(self) -> Iterator[int]:
        with closing(self.connect()) as connection:
            yield connection.thread_id()

    def kill(self) -> None:
        self.server.stop(kill=True)

    def superuser(self, name: str, password: str) -> str:
        return self.user(f"{name}@'%'", "ALL ON *.*", password=password).rpartition("@")[0].strip("`")

    def leftovers(self) -> list[str]:
        return sorted(self.schemas())

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

    def drop(self) -> None:
        self.site.close()
        for name in (*self.databases.values(), *self.schemas()):
            self.server.sql(f"DROP DATABASE IF EXISTS `{name}`")
        for name in self._users:
            self.server.sql(f"DROP USER IF EXISTS {name}")
