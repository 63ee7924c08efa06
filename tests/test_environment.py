"""``${VAR}`` in configuration values, and where the values come from."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from django_cfg.environment import MissingVariable, lookup, substitute, substitute_all


@pytest.fixture(autouse=True)
def _away_from_other_env_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in an empty folder, with no settings module: no `.env` but the test's own is found."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.delenv("COLOUR", raising=False)


def replaced(text: str) -> str:
    return substitute(text, wanted_by="Paint.colour")


class TestSubstitute:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("${COLOUR}", "red"),
            ("a ${COLOUR} and ${COLOUR} car", "a red and red car"),
            ("${COLOUR:blue}", "red"),
            ("${NOTSET:blue}", "blue"),
            ("${NOTSET:}", ""),
            ("${COLOUR:-blue}", "red"),
            ("${NOTSET:-blue}", "blue"),
            ("${NOTSET:-}", ""),
            ("${NOTSET:--1}", "-1"),
            ("${NOTSET:-http://host:80/}", "http://host:80/"),
            ("${NOTSET:-?}", "?"),
            ("${NOTSET:http://host:80/}", "http://host:80/"),
            ("$${COLOUR}", "${COLOUR}"),
            ("$$${COLOUR}", "$${COLOUR}"),
            ("$COLOUR, $ and {COLOUR}", "$COLOUR, $ and {COLOUR}"),
            ("", ""),
        ],
    )
    def test_references_become_values(self, monkeypatch: pytest.MonkeyPatch, text: str, expected: str) -> None:
        monkeypatch.setenv("COLOUR", "red")
        assert replaced(text) == expected

    def test_a_value_is_not_searched_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A password may hold ``${``."""
        monkeypatch.setenv("COLOUR", "${OTHER} $${x")
        assert replaced("${COLOUR}") == "${OTHER} $${x"

    def test_an_empty_variable_is_a_value_unless_there_is_a_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLOUR", "")
        assert replaced("${COLOUR}") == ""
        assert replaced("${COLOUR:blue}") == "blue"

    def test_the_error_for_a_missing_variable_names_it_its_parameter_and_the_fix(self) -> None:
        with pytest.raises(MissingVariable) as caught:
            replaced("${COLOUR}")
        message = str(caught.value)
        assert "COLOUR" in message
        assert "Paint.colour" in message
        assert "${COLOUR:default}" in message
        assert ".env" in message

    @pytest.mark.parametrize(
        ("parameter", "variable"),
        [
            ("BackupStorageConfig.s3_secret_key", "COLOUR"),
            ("BackupConfig.decryption_keys", "COLOUR"),
            ("DatabaseConfig.password", "COLOUR"),
            ("BackupConfig.heartbeat_url", "COLOUR"),
            ("Config.extra_settings['EMAIL_HOST']", "SMTP_PASSWORD"),
            ("Config.extra_settings['SENTRY']", "SENTRY_DSN"),
            ("Paint.colour", "API_TOKEN"),
        ],
    )
    def test_a_default_is_never_suggested_for_a_secret(self, parameter: str, variable: str) -> None:
        with pytest.raises(MissingVariable, match=f"needs the variable {variable}") as caught:
            substitute(f"${{{variable}}}", wanted_by=parameter)
        assert "default" not in str(caught.value)

    @pytest.mark.parametrize("text", ["${COLOUR:?not set}", "${COLOUR:=blue}", "${COLOUR:+blue}"])
    def test_other_forms_of_shell_expansion_are_refused(self, text: str) -> None:
        """They would be taken for a default, the message of `:?` for a value."""
        with pytest.raises(ValueError, match=r"Paint\.colour: .*of the shell alone"):
            replaced(text)

    @pytest.mark.parametrize("text", ["${COLOUR:${OTHER}}", "${COLOUR:-${OTHER:-blue}}"])
    def test_a_reference_in_a_default_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"Paint\.colour: the default of COLOUR holds another"):
            replaced(text)

    @pytest.mark.parametrize("text", ["${MY-COLOUR}", "${}", "${ COLOUR }", "${1COLOUR}", "${:x}"])
    def test_an_invalid_name_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"Paint\.colour: a variable's name") as caught:
            replaced(text)
        assert not isinstance(caught.value, MissingVariable)


class TestSubstituteAll:
    def test_strings_are_found_in_dicts_lists_and_tuples(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLOUR", "red")
        value = {"a": ["${COLOUR}", 1], "b": ("${COLOUR}", None), "c": {"d": "$${x}"}, "e": Path("p")}
        assert substitute_all(value, wanted_by="Paint.all") == {
            "a": ["red", 1],
            "b": ("red", None),
            "c": {"d": "${x}"},
            "e": Path("p"),
        }

    def test_an_error_names_the_key(self) -> None:
        with pytest.raises(MissingVariable, match=r"Paint\.all\['a'\]\['b'\] needs the variable COLOUR"):
            substitute_all({"a": {"b": "${COLOUR}"}}, wanted_by="Paint.all")


class TestLookup:
    def test_a_dotenv_file_is_found_upward_from_the_working_directory(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text('COLOUR="green"\nexport SIZE=3\n')
        assert lookup("COLOUR") == "green"
        assert lookup("SIZE") == "3"
        assert lookup("NOTSET") is None

    @pytest.mark.parametrize(
        ("line", "value"),
        [
            ("COLOUR=correct${horse}battery", "correct${horse}battery"),
            ("COLOUR='correct${horse}battery'", "correct${horse}battery"),
            ('COLOUR="correct${horse:-x}battery"', "correct${horse:-x}battery"),
            ("OTHER=red\nCOLOUR=${OTHER}", "${OTHER}"),
        ],
    )
    def test_a_value_in_a_dotenv_file_is_used_unchanged(self, line: str, value: str) -> None:
        """A password may hold ``${`` there too."""
        Path(".env").write_text(f"{line}\n")
        assert lookup("COLOUR") == value
        assert replaced("${COLOUR}") == value

    def test_the_environment_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path(".env").write_text("COLOUR=green\n")
        monkeypatch.setenv("COLOUR", "red")
        assert lookup("COLOUR") == "red"

    def test_only_the_nearest_file_counts(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("COLOUR=far\nSIZE=3\n")
        Path(".env").write_text("COLOUR=near\n")
        assert lookup("COLOUR") == "near"
        assert lookup("SIZE") is None

    def test_the_settings_modules_file_comes_before_the_working_directorys(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        settings = project_with_settings(monkeypatch, tmp_path / "project")
        (tmp_path / "project" / ".env").write_text("COLOUR=project\n")
        Path(".env").write_text("COLOUR=work\nSIZE=3\n")
        assert settings not in sys.modules
        assert lookup("COLOUR") == "project"
        assert lookup("SIZE") == "3"

    def test_the_settings_module_may_be_half_imported(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """As it is when settings.py builds its configuration: no spec yet, but a file."""
        settings = project_with_settings(monkeypatch, tmp_path / "project")
        half = ModuleType(settings)
        half.__file__ = str(tmp_path / "project" / f"{settings}.py")
        half.__spec__ = None
        monkeypatch.setitem(sys.modules, settings, half)
        (tmp_path / "project" / ".env").write_text("COLOUR=project\n")
        assert lookup("COLOUR") == "project"

    def test_a_missing_settings_module_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no.such.settings")
        Path(".env").write_text("COLOUR=work\n")
        assert lookup("COLOUR") == "work"


def project_with_settings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """A folder on the import path with a settings module; its name."""
    name = "settings_looked_for_by_lookup"
    folder.mkdir()
    (folder / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", name)
    return name


@pytest.mark.parametrize("parameter", ["BackupStorageConfig.s3_secret_key", "DjangoConfig.secret_key"])
def test_a_secret_that_is_missing_gets_no_default(parameter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("R2_CODE", raising=False)
    with pytest.raises(MissingVariable) as caught:
        substitute("${R2_CODE}", wanted_by=parameter)
    assert "in a .env file" in str(caught.value)
    assert ":default" not in str(caught.value)
