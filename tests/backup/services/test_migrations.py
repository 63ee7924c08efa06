"""The differences between a backup's migrations and those of the code. The test creates the code's migrations."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import django
import pytest
from django.apps import apps
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings

from django_cfg.backup.services.verification.migration_state import compare_migrations
from tests.support.django_project import Site

MIGRATION = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = {dependencies}
    replaces = {replaces}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write the migrations of the app ``sessions``, each after the one before, and nothing else in the project."""
    folder = tmp_path / "shop_migrations"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, *, after: str = "", replaces: tuple[str, ...] = ()) -> None:
        text = MIGRATION.format(
            dependencies=[("sessions", after)] if after else [],
            replaces=[("sessions", replaced) for replaced in replaces],
        )
        (folder / f"{name}.py").write_text(text)

    for label in ("contenttypes", "auth", "django_cfg_backup"):
        monkeypatch.setitem(MODULES, label, None)
    monkeypatch.setitem(MODULES, "sessions", "shop_migrations")
    with override_settings(MIGRATION_MODULES=MODULES):
        yield write
    for module in [name for name in sys.modules if name.startswith("shop_migrations")]:
        del sys.modules[module]


MODULES: dict[str, str | None] = {}
THREE = ["0001_initial", "0002_price", "0003_stock"]


@pytest.fixture
def three(shop: Callable[..., None]) -> None:
    shop("0001_initial")
    shop("0002_price", after="0001_initial")
    shop("0003_stock", after="0002_price")


@pytest.mark.usefixtures("three")
class TestThreeMigrations:
    def test_equal_migrations_need_no_message(self) -> None:
        assert compare_migrations({"sessions": THREE}) == ""

    def test_a_backup_one_migration_behind(self) -> None:
        assert (
            compare_migrations({"sessions": THREE[:2]})
            == "The backup is 1 migration behind your code (sessions 1): run migrate."
        )

    def test_a_backup_two_migrations_behind(self) -> None:
        assert (
            compare_migrations({"sessions": THREE[:1]})
            == "The backup is 2 migrations behind your code (sessions 2): run migrate."
        )

    def test_an_app_added_later_is_behind_with_all_its_migrations(self) -> None:
        words = compare_migrations({"gone_app": ["0001_initial"]})
        assert words == "The backup is 3 migrations behind your code (sessions 3): run migrate."

    def test_a_removed_app_does_not_count(self) -> None:
        """Its tables are restored, and nothing reads them."""
        assert compare_migrations({"sessions": THREE, "gone_app": ["0099_last"]}) == ""

    def test_a_backup_ahead_needs_other_code(self) -> None:
        """The message does not name ``migrate``, which could not help."""
        words = compare_migrations({"sessions": [*THREE, "0004_rating"]})
        assert "holds migration your code does not have (sessions.0004_rating)" in words
        assert "deploy the code" in words
        assert "run migrate" not in words

    def test_a_database_without_django_has_no_migrations_to_compare(self) -> None:
        assert compare_migrations({}) == ""


def test_several_apps_are_counted_together(shop: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum, and each app's share."""
    shop("0001_initial")
    shop("0002_price", after="0001_initial")
    modules = {**MODULES, "contenttypes": "django.contrib.contenttypes.migrations"}
    with override_settings(MIGRATION_MODULES=modules):
        words = compare_migrations({"sessions": THREE[:1], "contenttypes": ["0001_initial"]})
    assert words == "The backup is 2 migrations behind your code (contenttypes 1, sessions 1): run migrate."


class TestSquashed:
    @pytest.fixture(autouse=True)
    def _squashed(self, three: None, shop: Callable[..., None]) -> None:
        """0001 to 0003 in one, next to the three, and one more after it."""
        shop("0001_squashed_0003", replaces=("0001_initial", "0002_price", "0003_stock"))
        shop("0004_rating", after="0001_squashed_0003")

    @pytest.mark.parametrize("applied", [["0001_initial", "0002_price", "0003_stock"], ["0001_squashed_0003"]])
    def test_a_squashed_migration_equals_those_it_replaces(self, applied: list[str]) -> None:
        """Backups from before and after the squash are equally current."""
        assert (
            compare_migrations({"sessions": applied})
            == "The backup is 1 migration behind your code (sessions 1): run migrate."
        )

    def test_a_migration_after_the_squashed_one_fits(self) -> None:
        assert compare_migrations({"sessions": ["0001_squashed_0003", "0004_rating"]}) == ""

    @pytest.mark.parametrize("squashed", [0, 2, 3, 4])
    def test_the_position_of_the_squashed_migration_does_not_count(self, squashed: int) -> None:
        """Django records it at the end of the ``migrate`` that completes it, after later ones."""
        applied = [*THREE, "0004_rating"]
        applied.insert(squashed, "0001_squashed_0003")
        assert compare_migrations({"sessions": applied}) == ""

    def test_a_backup_with_some_of_the_replaced_migrations(self) -> None:
        """The others are missing, and what comes after."""
        words = compare_migrations({"sessions": THREE[:2]})
        assert words == "The backup is 2 migrations behind your code (sessions 2): run migrate."

    def test_a_backup_ahead_of_the_squashed_migration(self) -> None:
        words = compare_migrations({"sessions": [*THREE, "0001_squashed_0003", "0004_rating", "0005_new"]})
        assert "does not have (sessions.0005_new)" in words

    def test_replaced_migrations_are_not_counted_twice(self) -> None:
        """A new database lacks two: the squashed one and the one after it."""
        assert (
            compare_migrations({"other": ["0001"]})
            == "The backup is 2 migrations behind your code (sessions 2): run migrate."
        )


def test_the_projects_own_migrations_fit_its_own_code() -> None:
    """With the real apps of the tests, as a backup just made has them."""
    loader = MigrationLoader(None)
    last = {app: [name for label, name in loader.graph.nodes if label == app] for app in loader.migrated_apps}
    assert set(last) <= {config.label for config in apps.get_app_configs()}
    assert compare_migrations(last) == ""


def test_files_that_were_removed_after_a_squash_are_not_ahead(shop: Callable[..., None]) -> None:
    shop("0001_squashed_0003")
    shop("0004_rating", after="0001_squashed_0003")
    assert compare_migrations({"sessions": [*THREE, "0001_squashed_0003", "0004_rating"]}) == ""


def test_a_branch_that_was_merged_later_is_missing(three: None, shop: Callable[..., None]) -> None:
    """Its migration is not applied, although a later one is."""
    shop("0002_branch", after="0001_initial")
    shop("0004_merge", after="0003_stock")
    words = compare_migrations({"sessions": [*THREE, "0004_merge"]})
    assert words == "The backup is 1 migration behind your code (sessions 1): run migrate."


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django squashes squashed migrations since 6.0")
def test_a_squash_of_squashes(shop: Callable[..., None]) -> None:
    shop("0003_stock")
    shop("0001_squashed_0002", replaces=("0001_initial", "0002_price"))
    shop("0001_squashed_0003", replaces=("0001_squashed_0002", "0003_stock"))
    assert compare_migrations({"sessions": THREE}) == ""


def test_a_database_that_migrate_finds_complete(site: Site, shop: Callable[..., None]) -> None:
    """Django records the squashed one last, when the others have run."""
    shop("0001_initial")
    shop("0002_old", after="0001_initial")
    shop("0002_new", after="0001_initial", replaces=("0002_old",))
    shop("0003_z", after="0002_new")
    site.sql("DELETE FROM django_migrations")
    assert site.call("migrate", verbosity=0).code == 0
    assert site.call("migrate", "--check", verbosity=0).code == 0
    manifest = site.create()
    assert set(manifest.migrations["sessions"]) == {"0001_initial", "0002_old", "0002_new", "0003_z"}
    lines = [line for line in site.call("backup_show", "latest").stdout.splitlines() if line.startswith("Migrations")]
    assert [line.split(maxsplit=1)[1] for line in lines] == ["as in your code"]
    site.sql("DELETE FROM django_migrations WHERE name = '0003_z'")
    assert "1 migration behind your code (sessions 1)" in site.call("backup_show", site.create().name).stdout


def test_some_tables_change_no_migrations(site: Site, books: Path) -> None:
    """After them ``migrate`` has nothing to do."""
    site.sql("DELETE FROM django_migrations WHERE app = 'sessions'")
    site.create()
    assert "run migrate" in site.call("backup_restore", "latest", "--yes").stderr
    answer = site.call("backup_restore", "latest", "--tables", "book", "--yes")
    assert answer.code == 0, answer.stderr
    assert "migrat" not in answer.stderr + answer.stdout
