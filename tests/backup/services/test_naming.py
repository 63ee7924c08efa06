"""The name of a backup: the template, the time in the project's zone, and names already in use."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from django_cfg.backup.services.catalog.naming import free_name, render_name
from django_cfg.backup.storage.local import LocalStorage

BERLIN = ZoneInfo("Europe/Berlin")
SUMMER = datetime(2026, 7, 1, 22, 5, 9, tzinfo=UTC)


def name(template: str = "{database}_{timestamp}_{env}", **values: str) -> str:
    given = {"database": "default", "env": "production", **values}
    return render_name(template, **given, started_at=SUMMER, zone=BERLIN)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{database}_{timestamp}_{env}", "default_20260702_000509_production"),
        ("{timestamp}-{database}", "20260702_000509-default"),
        ("{env}/{database}/{timestamp}", "production/default/20260702_000509"),
        ("shop.{database}.{timestamp}", "shop.default.20260702_000509"),
    ],
)
def test_the_template_is_filled_in(template: str, expected: str) -> None:
    """The time is in the project's zone, not UTC, so that the day is the local one."""
    assert name(template) == expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "20261025_023000"),  # summer time
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "20261025_023000"),  # an hour later, the same again
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), "20260329_030000"),
    ],
)
def test_the_clock_change_may_give_one_name_twice(moment: datetime, expected: str) -> None:
    """Therefore each name is checked before it is used."""
    assert render_name("{timestamp}", database="", env="", started_at=moment, zone=BERLIN) == expected


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("my shop", "my-shop"),
        ("a/b", "a-b"),
        ("../../etc/passwd", "-etc-passwd"),
        ('a\\b:c*?"<>|', "a-b-c-"),
        ("tab\tand\nnewline", "tab-and-newline"),
        ("naïve-日本", "naïve-日本"),
        (".hidden", "-hidden"),
        ("app.v2", "app-v2"),
        ("{env}", "-env-"),
        ("..", "-"),
        ("", "-"),
    ],
)
def test_characters_unfit_for_a_file_name_become_a_dash(alias: str, expected: str) -> None:
    """An alias and an environment make neither folders nor hidden files."""
    for made in (name("{database}_{timestamp}", database=alias), name("{env}_{timestamp}", env=alias)):
        assert made == f"{expected}_20260702_000509"


@pytest.mark.parametrize("alias", ["shop.json", "shop.proof", "shop.pin"])
def test_an_alias_cannot_make_a_backup_look_like_a_sidecar(alias: str) -> None:
    """``<name>.json`` would be taken for a drill's proof, and the backup never be listed."""
    assert not name("{timestamp}_{database}", database=alias).endswith((".json", ".proof", ".pin"))


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    """Taken by a finished backup, an archive without a manifest, or a backup being written."""
    storage = LocalStorage(tmp_path)
    assert free_name(storage.is_taken, "2026/shop") == "2026/shop"
    storage.write("2026/shop.json", b"x")
    assert free_name(storage.is_taken, "2026/shop") == "2026/shop-2"
    storage.write("2026/shop-2.sqlite3.gz", b"x")
    with storage.publish("2026/shop-3.sqlite3.gz"):
        assert free_name(storage.is_taken, "2026/shop") == "2026/shop-4"
    storage.delete("2026/shop-3.sqlite3.gz")
    assert free_name(storage.is_taken, "2026/shop") == "2026/shop-3"


def test_a_similar_name_is_not_taken(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.write("shop_logs.json", b"x")
    assert free_name(storage.is_taken, "shop") == "shop"
