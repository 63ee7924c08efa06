"""Which environment a DjangoConfig is in, and that DEBUG is never on by accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from django_cfg import DjangoConfig
from tests.support.environment_mode import clear_mode_variables

SECRET = "hunter2-do-not-print"


class Bare(DjangoConfig):
    pass


class WithKey(DjangoConfig):
    secret_key: str = "${SECRET_KEY:}"


class WithHosts(DjangoConfig):
    allowed_hosts: list[str] = ["shop.example"]


class WithDomains(DjangoConfig):
    security_domains: list[str] = []


class Inherited(WithKey):
    pass


PUBLISHED = [WithKey, WithHosts, WithDomains, Inherited]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.delenv("SECRET_KEY", raising=False)
    clear_mode_variables(monkeypatch)


def mode(config: type[DjangoConfig] = Bare, **given: Any) -> tuple[str, bool]:
    made = config(**{"secret_key": "x", **given}).get_all_settings()
    return made["ENV_MODE"], made["DEBUG"]


class TestVariables:
    @pytest.mark.parametrize("variable", ["ENV_MODE", "DJANGO_ENV", "ENVIRONMENT", "ENV"])
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("development", "development"),
            ("dev", "development"),
            ("devel", "development"),
            ("local", "development"),
            (" Prod ", "production"),
            ("PRODUCTION", "production"),
            ("staging", "staging"),
            ("stage", "staging"),
            ("test", "test"),
            ("testing", "test"),
        ],
    )
    def test_long_and_short_forms(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
    ) -> None:
        monkeypatch.setenv(variable, value)
        assert mode() == (expected, expected == "development")

    def test_the_first_variable_that_is_set_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENV", "production")
        monkeypatch.setenv("ENVIRONMENT", "staging")
        monkeypatch.setenv("DJANGO_ENV", "")
        monkeypatch.setenv("IS_DEV", "true")
        assert mode() == ("staging", False)
        monkeypatch.setenv("DJANGO_ENV", "test")
        assert mode() == ("test", False)
        monkeypatch.setenv("ENV_MODE", "dev")
        assert mode() == ("development", True)

    @pytest.mark.parametrize(
        ("variable", "expected"), [("IS_PROD", "production"), ("IS_DEV", "development"), ("IS_TEST", "test")]
    )
    @pytest.mark.parametrize("yes", ["1", "true", "True", "yes", "on"])
    def test_flags(self, monkeypatch: pytest.MonkeyPatch, variable: str, expected: str, yes: str) -> None:
        for name in ("IS_PROD", "IS_DEV", "IS_TEST"):
            monkeypatch.setenv(name, "false")
        monkeypatch.setenv(variable, yes)
        assert mode() == (expected, expected == "development")

    def test_a_dotenv_file_sets_the_mode(self) -> None:
        Path(".env").write_text("IS_DEV=true\n")
        assert mode(WithKey) == ("development", True)

    @pytest.mark.parametrize("variable", ["ENV_MODE", "DJANGO_ENV", "ENVIRONMENT", "ENV", "IS_PROD", "IS_DEV"])
    def test_an_unknown_value_is_an_error_that_names_the_variable(
        self, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.setenv(variable, SECRET)
        with pytest.raises(ValidationError, match=f"the variable {variable}\\b") as caught:
            Bare()
        assert SECRET not in str(caught.value)

    def test_two_flags_at_once_are_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IS_PROD", "1")
        monkeypatch.setenv("IS_DEV", "1")
        with pytest.raises(ValidationError, match="IS_PROD and IS_DEV are both true"):
            Bare()

    @pytest.mark.parametrize("given", ["prod", "${SHOP_MODE:prod}", "${SHOP_MODE:Production}"])
    def test_the_class_overrides_the_variables(self, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
        monkeypatch.setenv("ENV_MODE", "development")

        class Config(DjangoConfig):
            env_mode: str = given

        assert mode(Config) == ("production", False)

    def test_with_an_empty_value_of_the_class_the_variables_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DJANGO_ENV", "staging")

        class Config(DjangoConfig):
            env_mode: str = "${SHOP_MODE:}"

        assert mode(Config) == ("staging", False)


class TestNoVariable:
    def test_an_empty_class_is_in_development(self) -> None:
        made = Bare().get_all_settings()
        assert (made["ENV_MODE"], made["DEBUG"]) == ("development", True)

    @pytest.mark.parametrize("config", PUBLISHED)
    def test_a_class_with_a_key_or_hosts_is_in_production(self, config: type[DjangoConfig]) -> None:
        assert mode(config) == ("production", False)

    @pytest.mark.parametrize("config", PUBLISHED)
    def test_production_needs_a_secret_key(self, config: type[DjangoConfig]) -> None:
        with pytest.raises(ValidationError, match=r"secret_key\n.*secret_key is required.*ENV_MODE to development"):
            config()

    @pytest.mark.parametrize(
        "given", [{"secret_key": "x"}, {"allowed_hosts": ["h"], "secret_key": "x"}, {"security_domains": []}]
    )
    def test_arguments_count_like_the_class(self, given: dict[str, Any]) -> None:
        assert mode(**given) == ("production", False)

    @pytest.mark.parametrize("config", PUBLISHED)
    def test_development_with_a_key_or_hosts_must_be_explicit(
        self, monkeypatch: pytest.MonkeyPatch, config: type[DjangoConfig]
    ) -> None:
        monkeypatch.setenv("ENV_MODE", "development")
        made = config().get_all_settings()
        assert made["DEBUG"] is True
        assert made["SECRET_KEY"].startswith("django-insecure-")

    def test_debug_of_the_class_does_not_imply_development(self) -> None:
        class Config(WithKey):
            debug: bool = True

        with pytest.raises(ValidationError, match=r"debug\n.*debug is True and the environment is production"):
            Config(secret_key="x")
