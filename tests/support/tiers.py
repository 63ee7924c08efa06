"""The tiers of the tests. What a test needs says where it belongs: its fixtures, its parameters, its contract.

====  ==========================================================================================================
fast  all that needs no browser, database server, fleet of workers or project in processes of its own; of each server
      the contracts of engine, restore and drill, on its newest
full  everything but what is marked ``long``: what a plain ``pytest`` runs
rest  what is in full and not in fast: after ``make test`` it completes the full tier
long  what is marked ``long``
====  ==========================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# Fixtures that come with a database server, a browser, a project or workers in processes of their own, or what is slow
# to start or to ask.
SLOW_FIXTURES = frozenset(
    {
        "celery_app", "example_shop", "job_project", "promtool", "real_project", "rq_fleet", "stuck_job_project",
        "visited_projects", "worker_fleets",
        "postgresql", "postgresql_server", "own_postgresql", "own_postgresql_server",
        "mariadb", "mysql_server", "own_mariadb", "own_mysql_server", "chromium",
        "azurite", "gcs_server", "live_api", "moto_server", "rclone_folder", "s3_of_django_storages", "sftp_server",
        "webdav_server",
    }
)  # fmt: skip

_running: list[pytest.Item] = []


class OfEveryEngine:
    """The base of a contract that each engine keeps: it stays in the fast tier where it needs a server."""

    is_variant = False  # True: the engine keeps it in another way, too, which the full tier shows


def add_option(parser: pytest.Parser) -> None:
    tiers = ["fast", "full", "rest", "long"]
    parser.addoption("--tier", choices=tiers, help="which tests are run (default: full, or by -m)")


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave in *items* those of the tier. ``-m`` with the word long is a choice of its own."""
    tier = config.getoption("--tier")
    if tier is None and "long" in config.getoption("-m"):
        return
    chosen = {item: is_in(item, tier or "full") for item in items}
    config.hook.pytest_deselected(items=[item for item in items if not chosen[item]])
    items[:] = [item for item in items if chosen[item]]


def is_in(item: pytest.Item, tier: str) -> bool:
    is_long = item.get_closest_marker("long") is not None
    if tier in ("full", "long"):
        return is_long == (tier == "long")
    is_fast = not needs_slow_fixture(item) or _is_of_every_engine(item)
    return not is_long and is_fast == (tier == "fast")


def needs_slow_fixture(item: pytest.Item) -> bool:
    """Whether one is among the fixtures of the test, or among those that its parameters ask for."""
    asked = {name for value in _parameters(item).values() for name in getattr(value, "fixtures", ())}
    return bool(SLOW_FIXTURES & (asked | set(getattr(item, "fixturenames", ()))))


def _is_of_every_engine(item: pytest.Item) -> bool:
    kind = getattr(item, "cls", None)
    if kind is None or not issubclass(kind, OfEveryEngine) or kind.is_variant:
        return False
    return _parameters(item).get("postgresql") != "oldest"


def _parameters(item: pytest.Item) -> dict[str, object]:
    spec = getattr(item, "callspec", None)
    return spec.params if spec else {}


@contextmanager
def running(item: pytest.Item) -> Iterator[None]:
    """The length of a test: a server may only be started in it if the test is known to need one."""
    _running.append(item)
    try:
        yield
    finally:
        _running.remove(item)


def fail_unless_foreseen() -> None:
    """Fail where a test that was taken for one without a server starts one: it would be in the wrong tier."""
    for item in _running:
        assert needs_slow_fixture(item), (
            f"{item.nodeid} starts a server, and neither its fixtures nor its parameters say so"
        )


class Fixture(str):
    """A parameter that is the name of a fixture which the test asks for by it."""

    @property
    def fixtures(self) -> tuple[str, ...]:
        return (str(self),)
