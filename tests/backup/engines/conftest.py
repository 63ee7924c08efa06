"""The servers the engines are tested against: one of each major version this machine has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import PostgreSQL, postgresql_programs


@pytest.fixture(scope="session", params=[0, -1], ids=["oldest", "newest"])
def postgresql(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A PostgreSQL server of the oldest, then of the newest major version on this machine."""
    programs = postgresql_programs()
    if request.param == -1 and len(programs) == 1:
        pytest.skip("this machine has only one major version of PostgreSQL")
    yield from _started(programs[request.param], tmp_path_factory)


@pytest.fixture(scope="session")
def one_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A PostgreSQL server that tests may stop and start."""
    yield from _started(postgresql_programs()[0], tmp_path_factory)


def _started(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    server = PostgreSQL(programs, tmp_path_factory.mktemp("postgresql") / "server")
    yield server
    server.stop("immediate")
