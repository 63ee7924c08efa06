"""How a backup stands to the code, in words. The code's migrations are made for the test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.apps import apps
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings

from django_cfg.backup.services.verification.migration_state import compare_migrations

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


@pytest.fixture
def three(shop: Callable[..., None]) -> None:
    shop("0001_initial")
    shop("0002_price", after="0001_initial")
    shop("0003_stock", after="0002_price")


@pytest.mark.usefixtures("three")
class TestThreeMigrations:
    def test_one_that_fits_needs_no_words(self) -> None:
        assert compare_migrations({"sessions": "0003_stock"}) == ""

    def test_one_behind(self) -> None:
        assert (
            compare_migrations({"sessions": "0002_price"})
            == "The backup is 1 migration behind your code (sessions 1): run migrate."
        )

    def test_two_behind(self) -> None:
        assert (
            compare_migrations({"sessions": "0001_initial"})
            == "The backup is 2 migrations behind your code (sessions 2): run migrate."
        )

    def test_an_app_that_was_added_since_is_behind_with_all_of_its_migrations(self) -> None:
        words = compare_migrations({"gone_app": "0001_initial"})
        assert words == "The backup is 3 migrations behind your code (sessions 3): run migrate."

    def test_an_app_that_is_gone_is_no_concern(self) -> None:
        """Its tables are restored, and nothing reads them."""
        assert compare_migrations({"sessions": "0003_stock", "gone_app": "0099_last"}) == ""

    def test_one_ahead_needs_other_code(self) -> None:
        """Not a word of ``migrate``, which could not help."""
        words = compare_migrations({"sessions": "0004_rating"})
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
        words = compare_migrations({"sessions": "0001_initial", "contenttypes": "0001_initial"})
    assert words == "The backup is 2 migrations behind your code (contenttypes 1, sessions 1): run migrate."


class TestSquashed:
    @pytest.fixture(autouse=True)
    def _squashed(self, three: None, shop: Callable[..., None]) -> None:
        """0001 to 0003 in one, beside the three, and one more after it."""
        shop("0001_squashed_0003", replaces=("0001_initial", "0002_price", "0003_stock"))
        shop("0004_rating", after="0001_squashed_0003")

    @pytest.mark.parametrize("last", ["0003_stock", "0001_squashed_0003"])
    def test_the_squashed_one_stands_for_those_it_replaces(self, last: str) -> None:
        """A backup from before the squash is as far as one from after it."""
        assert (
            compare_migrations({"sessions": last})
            == "The backup is 1 migration behind your code (sessions 1): run migrate."
        )

    def test_one_after_it_fits(self) -> None:
        assert compare_migrations({"sessions": "0004_rating"}) == ""

    def test_the_replaced_ones_are_not_counted_again(self) -> None:
        """Two are missing to a new database: the squashed one and the one after."""
        assert (
            compare_migrations({"other": "0001"})
            == "The backup is 2 migrations behind your code (sessions 2): run migrate."
        )


def test_the_projects_own_migrations_fit_its_own_code() -> None:
    """With the real apps of the tests, as a backup just made has them."""
    loader = MigrationLoader(None)
    last = {app: max(name for label, name in loader.graph.leaf_nodes(app)) for app in loader.migrated_apps}
    assert set(last) <= {config.label for config in apps.get_app_configs()}
    assert compare_migrations(last) == ""
