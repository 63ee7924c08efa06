"""What many tests need: Django with the settings of the tests, and a project of the test's own.

Here pytest learns of the tiers (tests/support/tiers.py) and of the run that its workers share (run_folder.py).
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import django
import pymysql
import pytest

pytest.register_assert_rewrite("tests.support", "tests.backup")  # the contracts and the support code as well
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.settings"
pymysql.install_as_MySQLdb()
django.setup()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would its tests

# They need Django.
from tests.support import run_folder, tiers  # noqa: E402
from tests.support.django_project import Site  # noqa: E402
from tests.support.real_project import MakeProject, RealProject  # noqa: E402

pytest_plugins = ["tests.support.database_servers"]


def pytest_addoption(parser: pytest.Parser) -> None:
    tiers.add_option(parser)


@pytest.hookimpl(tryfirst=True)  # before pytest chooses where tmp_path is
def pytest_configure(config: pytest.Config) -> None:
    run_folder.begin(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    run_folder.end(config)


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_configure_node(node: Any) -> None:
    run_folder.hand_on(node.config, node.workerinput)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tiers.select(config, items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with tiers.running(item):
        return (yield)


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the tables of the installed apps; copied, never used itself."""
    folder = tmp_path_factory.mktemp("migrated")
    with pytest.MonkeyPatch.context() as patch:
        site = Site(folder, patch)
        site.call("migrate", verbosity=0)
        site.close()
    return folder / "db.sqlite3"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated_database: Path) -> Iterator[Site]:
    """A project with one migrated SQLite database, ``default``, and a local storage in a folder of its own."""
    shutil.copy(migrated_database, tmp_path / "db.sqlite3")
    site = Site(tmp_path, monkeypatch)
    yield site
    site.close()


@pytest.fixture
def real_project(tmp_path: Path, migrated_database: Path) -> MakeProject:
    """Make the project of the test, whose commands run in processes of their own: with *more* settings, and
    *parameters* of BACKUP."""

    def make(more: str = "", **parameters: object) -> RealProject:
        return RealProject(tmp_path / "project", migrated_database, more, **parameters)

    return make


@pytest.fixture
def books(site: Site) -> Path:
    """The database of *site*, with two related tables and 250 rows in them."""
    with closing(sqlite3.connect(site.database)) as connection:
        connection.executescript(
            """
            CREATE TABLE author (id integer PRIMARY KEY, name text NOT NULL);
            CREATE TABLE book (id integer PRIMARY KEY, title text NOT NULL, author_id integer REFERENCES author (id));
            WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 50)
                INSERT INTO author SELECT i, 'Author ' || i FROM n;
            WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 200)
                INSERT INTO book SELECT i, 'Book ' || i, 1 + i % 50 FROM n;
            """
        )
    return site.database
