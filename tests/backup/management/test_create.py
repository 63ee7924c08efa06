"""backup_create"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.django_project import Site

SQLITE = "django.db.backends.sqlite3"


@pytest.fixture
def shop(site: Site, books: Path) -> Path:
    """A second database next to ``default``, called ``shop``."""
    path = site.root / "shop.sqlite3"
    site.sql("CREATE TABLE item (id integer)", database=path)
    site.use_databases(default={"ENGINE": SQLITE, "NAME": str(books)}, shop={"ENGINE": SQLITE, "NAME": str(path)})
    return path


def test_a_backup_is_listed_and_its_pair_is_stored(site: Site) -> None:
    answer = site.call("backup_create", "--json")
    assert answer.code == 0
    (manifest,) = answer.json
    assert site.stored() == [f"{manifest['name']}.json", f"{manifest['name']}.sqlite3.gz"]
    assert [m["name"] for m in site.call("backup_list", "--json").json] == [manifest["name"]]


def test_stdout_lists_what_was_stored(site: Site, books: Path) -> None:
    """One line on stdout for each; the steps on the way go to stderr."""
    answer = site.call("backup_create", "--note", "before the sale")
    (name,) = {file.partition(".")[0] for file in site.stored()}
    assert answer.stdout.startswith(f"{name}: ")
    assert answer.stdout.count("\n") == 1
    assert " tables, " in answer.stdout
    assert " bytes stored in " in answer.stdout
    assert "default: reading the SQLite database" in answer.stderr
    assert site.call("backup_list", "--json").json[0]["note"] == "before the sale"


def test_with_verbosity_0_only_the_result_is_printed(site: Site, books: Path) -> None:
    """As cron jobs need it."""
    assert site.call("backup_create", verbosity=0).stderr == ""


@pytest.mark.usefixtures("shop")
def test_without_a_name_all_databases_are_backed_up(site: Site) -> None:
    answer = site.call("backup_create", "--json")
    assert [manifest["source"]["database"] for manifest in answer.json] == ["default", "shop"]


@pytest.mark.usefixtures("shop")
def test_only_named_databases_are_backed_up(site: Site) -> None:
    answer = site.call("backup_create", "shop", "--json")
    assert [manifest["source"]["database"] for manifest in answer.json] == ["shop"]


def test_one_of_two_databases_failing_is_exit_code_3(site: Site, shop: Path) -> None:
    """The other is stored, and both are in the one document."""
    shop.unlink()
    answer = site.call("backup_create", "--json")
    assert answer.code == 3
    good, bad = answer.json
    assert good["source"]["database"] == "default"
    assert bad["database"] == "shop"
    assert f"no file {shop}" in bad["error"]
    assert "1 of 2 databases were not backed up" in answer.stderr
    assert len(site.stored()) == 2


def test_all_databases_failing_is_exit_code_1(site: Site, shop: Path) -> None:
    shop.unlink()
    site.database.unlink()
    answer = site.call("backup_create", "--json")
    assert answer.code == 1
    assert [set(result) for result in answer.json] == [{"database", "error"}] * 2


def test_no_enabled_database_is_a_warning(site: Site) -> None:
    """An empty document and a warning, no failure: it is what the settings say."""
    site.configure(databases=[{"alias": "default", "enabled": False}])
    answer = site.call("backup_create", "--json")
    assert (answer.code, answer.json) == (0, [])
    assert "No database is enabled" in answer.stderr
