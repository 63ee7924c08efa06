"""A database of a test's own on one of the PostgreSQL servers, and what a test wants to know of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from tests.support.databases import DatabaseServer, new_suffix
from tests.support.django_project import Site
from tests.support.postgresql_server import PostgreSQL

TEMPLATE = "filled"


class PostgreSQLServer(DatabaseServer):
    server: PostgreSQL
    dump_program, restore_program = "pg_dump", "pg_restore"
    many_books = "INSERT INTO book SELECT i, repeat('x', 90), 1 FROM generate_series(1000, 20000) i"

    def __init__(self, site: Site, server: PostgreSQL) -> None:
        super().__init__(site)
        self.server, self._suffix = server, new_suffix()
        self.databases = {alias: f"{alias}_{self._suffix}" for alias in ("default", "empty")}
        self._roles: list[str] = []
        server.sql(
            f"CREATE DATABASE {self.databases['default']} TEMPLATE {TEMPLATE}",
            f"CREATE DATABASE {self.databases['empty']} TEMPLATE template0",
        )
        self.use()
        site.always = {"tools_dir": str(server.programs)}
        site.configure()

    def make_again(self, alias: str, options: str = "") -> None:
        """Let one of the databases be a new, empty one, made with these *options* of CREATE DATABASE."""
        self.site.close()
        name = self.databases[alias]
        self.server.sql(f"DROP DATABASE {name} WITH (FORCE)", f"CREATE DATABASE {name} TEMPLATE template0 {options}")

    def sleeping_in_staging(self) -> list[int]:
        """The sessions in a staging database that pg_sleep holds up."""
        query = "SELECT pid FROM pg_stat_activity WHERE starts_with(datname, %s) AND wait_event = 'PgSleep'"
        with self.server.connect() as connection:
            return [pid for (pid,) in connection.execute(query, [f"{self.databases['default']}__restoring_"])]

    def use(self, **changes: Any) -> None:
        """Let the project's settings of both databases be those of the superuser, but for *changes*."""
        aliases = {alias: self.server.settings(name, **changes) for alias, name in self.databases.items()}
        self.site.use_databases(**aliases)

    def run(self, *statements: str, alias: str = "default") -> list[tuple[Any, ...]]:
        with self.connect(alias) as connection, connection.transaction():
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def connect(self, alias: str = "default") -> psycopg.Connection:
        return self.server.connect(self.databases[alias])

    def table_names(self, alias: str = "default") -> list[str]:
        query = (
            "SELECT schemaname || '.' || tablename FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY schemaname, tablename"
        )
        return [name for (name,) in self.run(query, alias=alias)]

    def text(self, alias: str = "default") -> list[str]:
        """Everything in the database - structure, owners, privileges, comments, rows - as pg_dump writes it."""
        done = self.tool("pg_dump", self.databases[alias], "--encoding=UTF8")
        ours = ("\\restrict", "\\unrestrict")  # they hold a key that is new each time
        return [line for line in done.stdout.splitlines() if not line.startswith(ours)]

    def tool(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [str(self.server.programs / program), *arguments]
        return subprocess.run(argv, env=self.environment(), capture_output=True, text=True, check=True)

    def environment(self) -> dict[str, str]:
        """What PostgreSQL's own programs need to reach the server."""
        variables = {"PGHOST": "127.0.0.1", "PGPORT": str(self.server.port), "PGUSER": PostgreSQL.USER}
        path = f"{self.server.programs}:{os.environ['PATH']}"
        return {**os.environ, **variables, "PGPASSWORD": PostgreSQL.PASSWORD, "PATH": path}

    @contextmanager
    def locked(self, table: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
        """A block during which another session holds a lock."""
        with self.connect() as connection, connection.transaction():
            connection.execute(f"LOCK TABLE {table} IN {mode} MODE")
            yield

    @contextmanager
    def connected(self) -> Iterator[int]:
        """A block during which another session is connected and idle; the number by which the server knows it."""
        with closing(self.connect()) as connection:
            connection.autocommit = True
            (number,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
            yield number

    def kill(self) -> None:
        self.server.stop("immediate")

    def superuser(self, name: str, password: str) -> str:
        quoted = password.replace("'", "''")
        return self.role(name, f"SUPERUSER LOGIN PASSWORD '{quoted}'").strip('"')

    def leftovers(self) -> list[str]:
        return self.made("restoring") + self.made("before")

    def role(self, name: str, attributes: str = "LOGIN PASSWORD 'pw'") -> str:
        """A role that goes with the databases; its name, which begins so."""
        name = f'{name[:-1]} {self._suffix}"' if name.endswith('"') else f"{name}_{self._suffix}"
        self.server.sql(f"CREATE ROLE {name} {attributes}")
        self._roles.append(name)
        return name

    def made(self, purpose: str, alias: str = "default") -> list[str]:
        """The databases that restores have made next to one of ours: ``restoring`` or ``before``."""
        pattern = f"{self.databases[alias]}__{purpose}_%"
        with self.server.connect() as connection:
            found = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s ORDER BY 1", [pattern])
            return [name for (name,) in found.fetchall()]

    def drop(self) -> None:
        self.site.close()
        ours = "SELECT quote_ident(datname) FROM pg_database WHERE strpos(datname, %s) > 0"
        with self.server.connect() as connection:
            for (name,) in connection.execute(ours, [self._suffix]).fetchall():
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            for name in self._roles:
                connection.execute(f"DROP ROLE IF EXISTS {name}")
