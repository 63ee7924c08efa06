"""Ways to a MySQL or MariaDB server: the driver and the programs take the same one; and which programs are taken."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.base import Database
from django_cfg.backup.engines.mysql import MySQLEngine
from django_cfg.backup.engines.mysql.connection import connect
from django_cfg.backup.engines.mysql.option_file import (
    _mariadb_tls,
    _mysql_tls,
    format_option_file,
    read_connection_options,
    read_option_file,
)
from django_cfg.backup.engines.mysql.privileges import _matches
from django_cfg.backup.engines.mysql.session import parse_version
from django_cfg.backup.engines.mysql.tools import DUMP_TOOLS, describe_mismatch, find_tool
from django_cfg.backup.errors import ConfigurationError
from tests.backup.engines.connection_contract import ConnectionContract, works
from tests.support import needs
from tests.support.databases import DatabaseServer
from tests.support.mariadb_server import MariaDB, mariadb_program
from tests.support.mysql_databases import MySQLServer
from tests.support.server_process import give_to_server


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


class TestConnection(ConnectionContract):
    database_names = ("it's `--help`; %_ö.x", "--version", "x" * 64)
    site_options = {"connect_timeout": 1}
    own_options = {"connect_timeout": 5}
    key_password = "ssl_key_password"
    program = "mysqldump"
    missing_program = "mysqldump is needed.*install mysql-client"

    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> MySQLServer:
        return mysql_server

    @pytest.fixture
    def tls(self, own_mysql_server: MySQLServer) -> Iterator[MySQLServer]:
        openssl, running = needs.program("openssl"), own_mysql_server.server
        certificates = running.folder / "certificates"
        certificates.mkdir(exist_ok=True)
        command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                   "-addext", "subjectAltName=DNS:localhost",
                   "-keyout", certificates / "key", "-out", certificates / "crt"]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        (certificates / "key").chmod(0o600)
        give_to_server(certificates)
        running.stop()
        running.start(f"--ssl-cert={certificates / 'crt'}", f"--ssl-key={certificates / 'key'}")
        yield own_mysql_server
        running.stop()
        running.start()

    def sockets(self, server: DatabaseServer) -> Iterator[dict[str, Any]]:
        socket = str(server.server.socket)
        yield {"HOST": socket, "PORT": ""}
        yield {"HOST": "", "PORT": "", "OPTIONS": {"unix_socket": socket}}

    @contextmanager
    def named(self, server: DatabaseServer, name: str) -> Iterator[None]:
        assert isinstance(server, MySQLServer)
        quoted = "`" + name.replace("`", "``") + "`"
        server.server.sql(f"CREATE DATABASE {quoted}")
        databases = server.databases
        server.databases = {**databases, "default": name}
        try:
            server.fill()
            yield
        finally:
            server.site.close()
            for schema in (name, *server.schemas()):
                server.server.sql(f"DROP DATABASE {'`' + schema.replace('`', '``') + '`'}")
            server.databases = databases

    def trusted(self, tls: DatabaseServer) -> Iterator[dict[str, Any]]:
        """Of a user who has to use TLS."""
        user = tls.superuser("secret", "pw")
        tls.server.sql(f"ALTER USER '{user}'@'%' REQUIRE SSL")
        certificate = str(tls.server.folder / "certificates" / "crt")
        for options in (
            {},  # this driver takes TLS where it is offered
            {"ssl_ca": certificate, "ssl_verify_cert": True, "ssl_verify_identity": True},
            {"ssl_ca": certificate},
        ):
            yield {"HOST": "localhost", "USER": user, "PASSWORD": "pw", "OPTIONS": options}

    def untrusted(self, tls: DatabaseServer) -> Iterator[tuple[dict[str, Any], str]]:
        options = {"ssl_ca": str(tls.server.folder / "certificates" / "crt"), "ssl_verify_identity": True}
        yield {"HOST": "127.0.0.1", "OPTIONS": options}, "(?i)certificate.*Check the ssl parameters"
        user = tls.superuser("open", "pw")
        tls.server.sql(f"ALTER USER '{user}'@'%' REQUIRE SSL")
        yield {"USER": user, "PASSWORD": "pw", "OPTIONS": {"ssl_disabled": True}}, "Access denied"

    def read_settings(self, settings: Mapping[str, Any]) -> object:
        return read_connection_options({"ENGINE": "django.db.backends.mysql", **settings})

    def find_program(self, folder: Path) -> object:
        return find_tool(DUMP_TOOLS, "mysql", str(folder), "To test")


def test_an_option_file_of_the_project(server: MySQLServer, tmp_path: Path) -> None:
    """As Django's documentation has it: everything in read_default_file, nothing in the settings."""
    file = tmp_path / "my.cnf"
    file.write_text(
        f"[client]\ndatabase = {server.databases['default']}\nuser = {MariaDB.USER}\npassword = {MariaDB.PASSWORD}\n"
        f"host = 127.0.0.1\nport = {server.server.port}\ndefault-character-set = utf8mb4\n"
    )
    nothing = {"NAME": "", "USER": "", "PASSWORD": "", "HOST": "", "PORT": ""}
    server.use(**nothing, OPTIONS={"read_default_file": str(file)})
    works(server)


def test_an_option_file_that_is_missing(server: MySQLServer) -> None:
    server.use(OPTIONS={"read_default_file": "/nowhere/my.cnf"})
    with pytest.raises(ConfigurationError, match=r"/nowhere/my\.cnf.*cannot be read: No such file"):
        create_backup()


def test_options_of_the_sites_requests_are_not_for_a_dump(server: MySQLServer) -> None:
    """Its limits of time, its modes and its isolation would end a dump or change what it reads."""
    server.use(
        OPTIONS={
            "read_timeout": 1,
            "init_command": "SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', max_statement_time = 3",
            "isolation_level": "read committed",
            "charset": "latin1",
        }
    )
    server.site.configure(databases=[{"alias": "default", "connection": {"OPTIONS": {"connect_timeout": 5}}}])
    server.run("CREATE TABLE `Ödd \\ ``'` (i int)", "INSERT INTO `Ödd \\ ``'` VALUES (1)")
    manifest = create_backup()
    assert {table.name: table.rows for table in manifest.tables}["Ödd \\ `'"] == 1
    restore_backup()
    with connect(Database("default", settings.DATABASES["default"])) as session:
        assert session.fetch_rows("SELECT @@max_statement_time, @@sql_mode") == [(0, "NO_AUTO_VALUE_ON_ZERO")]


def test_the_programs_come_as_the_driver_came() -> None:
    """From 11.4 on MariaDB's programs insist on TLS: only where the driver had it, and as strictly."""
    ca = {"ssl-ca": "/ca"}
    assert _mariadb_tls(ca, encrypted=False, verified=True) == {"skip-ssl": None}
    assert _mariadb_tls(ca, encrypted=True, verified=True) == {"ssl": None, **ca, "ssl-verify-server-cert": None}
    assert _mariadb_tls({}, encrypted=True, verified=False) == {"ssl": None, "disable-ssl-verify-server-cert": None}
    assert _mysql_tls(ca, encrypted=True, verified=False) == {"ssl-mode": "VERIFY_CA", **ca}
    assert _mysql_tls({}, encrypted=True, verified=False) == {"ssl-mode": "REQUIRED"}
    assert _mysql_tls(ca, encrypted=True, verified=True)["ssl-mode"] == "VERIFY_IDENTITY"
    assert _mysql_tls({}, encrypted=False, verified=False)["ssl-mode"] == "DISABLED"


def test_aliases_of_one_database_are_known_by_their_place() -> None:
    def identity(**settings: object) -> str:
        return MySQLEngine(Database("x", {"NAME": "a", **settings})).identity

    assert identity() == identity(HOST="localhost", PORT="3306") == identity(OPTIONS={"database": "b"})
    assert identity() != identity(HOST="other")
    assert identity() != identity(HOST="/run/socket")
    assert identity() != identity(NAME="b")


# --- option files


@pytest.mark.parametrize(
    "value", ["plain", "it's", '"', "a#b;c", "\\", "\\n", "\n", " spaces ", "'quoted'", "ü", "x=y"]
)
def test_what_is_written_is_read_again_by_the_programs_and_by_us(tmp_path: Path, value: str) -> None:
    file = tmp_path / "client.cnf"
    file.write_text(format_option_file({"user": value, "skip-ssl": None}))
    assert read_option_file(str(file), "client") == {"user": value, "skip-ssl": ""}
    argv = [mariadb_program("my_print_defaults"), f"--defaults-file={file}", "client"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == f"--user={value}\n--skip-ssl\n"


def test_an_option_file_is_read_as_the_programs_read_it(tmp_path: Path) -> None:
    file = tmp_path / "my.cnf"
    file.write_text(
        "# comment\n!includedir /nowhere\n[mysqld]\nuser = wrong\n[client]\nuser=first\n; comment\nport = 1 # why\n"
        "loose-ssl_ca = '/a b'\n[backup]\nuser = second\n"
    )
    assert read_option_file(str(file), "client") == {"user": "first", "port": "1", "ssl-ca": "/a b"}
    assert read_option_file(str(file), "backup")["user"] == "second"


# --- which programs


def program(folder: Path, name: str, version: str) -> None:
    """A program that does nothing but print its version."""
    (folder / name).write_text(f"#!/bin/sh\necho '{version}'\n")
    (folder / name).chmod(0o755)


MARIADB = "mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)"
NEWER = "/usr/bin/mariadb-dump from 11.4.2-MariaDB, client 10.19 for debian-linux-gnu (x86_64)"
MYSQL = "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)"


@pytest.mark.parametrize(
    ("installed", "vendor", "chosen"),
    [
        ({"mysqldump": MARIADB, "mariadb-dump": NEWER}, "mariadb", ("mariadb-dump", "mariadb", "11.4.2")),
        ({"mysqldump": MARIADB}, "mariadb", ("mysqldump", "mariadb", "10.11.19")),
        ({"mysqldump": MYSQL, "mariadb-dump": NEWER}, "mysql", ("mysqldump", "mysql", "8.0.36")),
        ({"mysqldump": MARIADB, "mariadb-dump": NEWER}, "mysql", ("mysqldump", "mariadb", "10.11.19")),
        ({"mysqldump": MYSQL}, "mariadb", ("mysqldump", "mysql", "8.0.36")),
    ],
)
def test_each_server_is_dumped_by_its_own_program(
    tmp_path: Path, installed: dict[str, str], vendor: str, chosen: tuple[str, str, str]
) -> None:
    """Whatever its name; one that was not made for the server is taken when there is no other, and reported."""
    for name, version in installed.items():
        program(tmp_path, name, version)
    tool = find_tool(DUMP_TOOLS, vendor, str(tmp_path), "To test")
    assert (tool.name, tool.vendor, tool.version) == chosen
    assert bool(describe_mismatch(tool, vendor, tool.version)) == (tool.vendor != vendor)


def test_an_older_program_is_reported(tmp_path: Path) -> None:
    program(tmp_path, "mariadb-dump", MARIADB)
    tool = find_tool(DUMP_TOOLS, "mariadb", str(tmp_path), "To test")
    assert "older than the server (MariaDB 11.4.2)" in describe_mismatch(tool, "mariadb", "11.4.2")
    assert describe_mismatch(tool, "mariadb", "10.11.2") == describe_mismatch(tool, "mariadb", "10.6.1") == ""


@pytest.mark.parametrize(
    ("info", "version"),
    [("5.5.5-10.11.19-MariaDB-0+deb12u1-log", "10.11.19"), ("8.0.36", "8.0.36"), ("8.4.0-commercial", "8.4.0")],
)
def test_the_servers_version(info: str, version: str) -> None:
    assert parse_version(info) == version


@pytest.mark.parametrize(
    ("pattern", "covers"),
    [(r"sh\_p", False), ("sh_p", True), ("sh%", True), ("shop", True), ("s.*", False), ("%", True)],
)
def test_a_grants_wildcards(pattern: str, covers: bool) -> None:
    assert _matches(pattern, "shop") is covers
