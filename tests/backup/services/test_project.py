"""The project as the services see it: its sources, its names and its configuration."""

from __future__ import annotations

import os
from typing import Any

import pytest

from django_cfg import BackupConfig, DjangoConfig
from django_cfg.backup.errors import ConfigurationError, UsageError
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.environment_mode import clear_mode_variables

SQLITE = "django.db.backends.sqlite3"


def database(site: Site, file: str, **values: Any) -> dict[str, Any]:
    return {"ENGINE": SQLITE, "NAME": str(site.root / file), **values}


class TestSources:
    def test_every_database_is_a_source(self, site: Site) -> None:
        """In the order of the settings, without any entry in BACKUP."""
        site.use_databases(default=database(site, "a"), shop=database(site, "b"), archive=database(site, "c"))
        assert current_project().aliases() == ["default", "shop", "archive"]

    def test_a_disabled_database_is_no_source(self, site: Site) -> None:
        site.use_databases(default=database(site, "a"), shop=database(site, "b"))
        site.configure(databases=[{"alias": "default", "enabled": False}])
        assert current_project().aliases() == ["shop"]

    def test_a_test_mirror_is_no_source(self, site: Site) -> None:
        """A replica, declared as in Django's documentation."""
        site.use_databases(default=database(site, "a"), replica=database(site, "b", TEST={"MIRROR": "default"}))
        assert current_project().aliases() == ["default"]

    @pytest.mark.parametrize("same", ["db.sqlite3", "link.sqlite3", "sub/../db.sqlite3"])
    def test_two_aliases_of_one_database_are_backed_up_once(self, site: Site, same: str) -> None:
        """Under the first alias, whatever path the second uses."""
        (site.root / "sub").mkdir()
        (site.root / "link.sqlite3").symlink_to(site.database)
        site.use_databases(default=database(site, "db.sqlite3"), replica=database(site, same))
        assert current_project().aliases() == ["default"]

    def test_a_uri_and_a_path_name_the_same_database(self, site: Site) -> None:
        uri = {"ENGINE": SQLITE, "NAME": f"file:{site.database}?mode=ro", "OPTIONS": {"uri": True}}
        site.use_databases(default=database(site, "db.sqlite3"), readonly=uri)
        assert current_project().aliases() == ["default"]

    def test_the_second_alias_counts_if_the_first_is_disabled(self, site: Site) -> None:
        """The database is enabled under one of its names, so it is backed up."""
        site.use_databases(default=database(site, "a"), same=database(site, "a"))
        site.configure(databases=[{"alias": "default", "enabled": False}])
        assert current_project().aliases() == ["same"]

    def test_a_database_that_cannot_be_backed_up_is_a_source(self, site: Site) -> None:
        """Its backup fails visibly, instead of being skipped silently."""
        memory = {"ENGINE": SQLITE, "NAME": ":memory:"}
        unknown = {"ENGINE": "nosuch.backend", "NAME": "x"}
        site.use_databases(default=memory, other=memory, unknown=unknown)
        assert current_project().aliases() == ["default", "other", "unknown"]

    def test_a_project_without_databases_has_no_sources(self, site: Site) -> None:
        """Django puts a dummy into an empty DATABASES."""
        site.use_databases(default={"ENGINE": "django.db.backends.dummy"})
        assert current_project().aliases() == []

    def test_the_error_for_an_unknown_alias_lists_the_known_ones(self, site: Site) -> None:
        site.use_databases(default=database(site, "a"), shop=database(site, "b"))
        with pytest.raises(UsageError, match=r"no database 'shopp' in settings\.DATABASES.*: default, shop\."):
            current_project().database("shopp")


class TestNames:
    def test_the_project_is_named_by_its_backup_configuration_first(self, site: Site) -> None:
        site.configure(project="bookshop")
        site.set(PROJECT_NAME="other")
        assert current_project().name == "bookshop"

    def test_the_project_is_named_by_project_name_next(self, site: Site) -> None:
        """Which DjangoConfig sets."""
        site.set(PROJECT_NAME="bookshop")
        assert current_project().name == "bookshop"

    @pytest.mark.parametrize(
        ("module", "expected"), [("bookshop.settings.production", "bookshop"), ("settings", "settings")]
    )
    def test_the_project_is_named_by_the_settings_module_last(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, module: str, expected: str
    ) -> None:
        """By its first component."""
        site.set(PROJECT_NAME="")
        monkeypatch.setitem(os.environ, "DJANGO_SETTINGS_MODULE", module)
        assert current_project().name == expected

    @pytest.mark.parametrize(
        ("setting", "variable", "debug", "expected"),
        [
            ("staging", "production", True, "staging"),
            ("", "production", True, "production"),
            ("", "", True, "development"),
            ("", "", False, "production"),
        ],
    )
    def test_the_environment_is_the_first_one_configured(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, setting: str, variable: str, debug: bool, expected: str
    ) -> None:
        """settings.ENV_MODE, then the variables, then what DEBUG says."""
        clear_mode_variables(monkeypatch)
        site.set(ENV_MODE=setting, DEBUG=debug)
        monkeypatch.setenv("ENV_MODE", variable)
        assert current_project().env == expected

    @pytest.mark.parametrize(
        "variables",
        [
            {"DJANGO_ENV": "prod"},
            {"ENVIRONMENT": "stage"},
            {"IS_DEV": "1"},
            {"ENV": "test", "IS_PROD": "yes"},
            {"ENV_MODE": "dev", "ENV": "prod"},
        ],
    )
    def test_the_environment_is_that_of_djangoconfig(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
    ) -> None:
        clear_mode_variables(monkeypatch)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        site.set(ENV_MODE="", DEBUG=False)
        assert current_project().env == DjangoConfig(secret_key="x").env_mode

    @pytest.mark.parametrize(("given", "expected"), [("prod", "production"), (" Stage ", "staging"), ("QA 2", "QA 2")])
    def test_short_forms_are_those_of_djangoconfig(self, site: Site, given: str, expected: str) -> None:
        site.set(ENV_MODE=given)
        assert current_project().env == expected

    def test_an_unknown_environment_is_an_error(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a variable, which may be another program's; else a restore would look for the backups of another one."""
        clear_mode_variables(monkeypatch)
        site.set(ENV_MODE="")
        monkeypatch.setenv("ENV", "hunter2")
        with pytest.raises(ConfigurationError, match=r"the variable ENV \(set ENV_MODE") as caught:
            current_project()
        assert "hunter2" not in str(caught.value)
        assert site.call("backup_list").code == 2

    def test_a_source_is_project_environment_and_database(self, site: Site) -> None:
        assert str(current_project().source("default")) == "tests/test/default"


class TestConfiguration:
    def test_a_dict_is_accepted(self, site: Site) -> None:
        """For settings without the models."""
        site.set(BACKUP={"enabled": True, "compression": "xz"})
        assert current_project().config == BackupConfig(enabled=True, compression="xz")

    @pytest.mark.parametrize("value", [None, 1, "yes", []])
    def test_the_error_for_a_missing_configuration_says_how_to_add_it(self, site: Site, value: object) -> None:
        site.set(BACKUP=value)
        with pytest.raises(ConfigurationError, match=r"BACKUP = BackupConfig\(enabled=True\)"):
            current_project()

    def test_the_error_for_a_wrong_value_names_the_parameter_and_shows_no_secret(self, site: Site) -> None:
        site.set(BACKUP={"compresion": "gzip", "encryption_key": ["hunter2"], "storage": {"s3_secret_key": 17042}})
        with pytest.raises(ConfigurationError) as caught:
            current_project()
        assert "compresion" in str(caught.value)
        assert "compression" in str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert "17042" not in str(caught.value)
