"""What the commands have in common: --help with the exit codes, --no-input, --database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import load_command_class

import django_cfg.backup.management.commands
from django_cfg.backup.errors import BackupNotFound, RunNotFound, SomeFailed, Unhealthy, UsageError
from django_cfg.backup.management.command import BackupCommand
from tests.support.django_project import Site

COMMANDS = sorted(path.stem for path in Path(django_cfg.backup.management.commands.__path__[0]).glob("backup_*.py"))
OWN = {
    BackupNotFound.exit_code: {"backup_delete", "backup_restore", "backup_show", "backup_verify", "backup_pin"},
    SomeFailed.exit_code: {"backup_create", "backup_copy", "backup_tick"},
    Unhealthy.exit_code: {"backup_status", "backup_check"},
    RunNotFound.exit_code: {"backup_cancel"},
}


def help_of(name: str) -> str:
    return load_command_class("django_cfg.backup", name).create_parser("manage.py", name).format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_lists_the_exit_codes(name: str) -> None:
    """A line each, in their order; those that not every command has where it has them."""
    listed = help_of(name).split("exit codes:\n")[1]
    codes = [int(code) for code in re.findall(r"(?m)^  (\d+) +\w", listed)]
    assert codes == sorted(codes)
    assert {0, 1, UsageError.exit_code, 130} <= set(codes)
    assert {code for code, commands in OWN.items() if name in commands} <= set(codes)


def test_the_description_of_a_command_is_still_wrapped() -> None:
    assert max(map(len, help_of("backup_verify").splitlines())) <= 120


def with_option(option: str) -> list[str]:
    return [name for name in COMMANDS if re.search(rf"(?m)^ +.*{option}\b", help_of(name))]


class TestNoInput:
    @pytest.mark.parametrize("name", with_option("--yes"))
    def test_every_command_that_asks_has_it(self, name: str) -> None:
        assert "--no-input, --noinput" in help_of(name)

    @pytest.mark.usefixtures("books")
    def test_it_means_yes(self, site: Site) -> None:
        """From Python as well, as the commands of Django take it."""
        spellings: list[tuple[list[str], dict[str, bool]]] = [
            *(([option], {}) for option in ("--yes", "--no-input", "--noinput")),
            *(([], option) for option in ({"interactive": False}, {"no_input": True}, {"yes": True})),
        ]
        names = [site.create().name for _ in range(len(spellings) + 1)]
        for name, (arguments, options) in zip(names[:-1], spellings, strict=True):
            assert site.call("backup_delete", name, interactive=True).code == 1
            assert site.call("backup_delete", name, *arguments, **options).code == 0


class TestDatabase:
    """An unknown alias is wrong usage, whatever else was given; never ignored."""

    @pytest.mark.parametrize("name", with_option("--database"))
    @pytest.mark.usefixtures("books")
    def test_an_unknown_alias_is_refused(self, site: Site, name: str) -> None:
        site.create()
        more = ["latest"] if name not in ("backup_list", "backup_cancel", "backup_copy", "backup_migrate") else []
        for alias in ("nosuch", ""):
            answer = site.call(name, *more, "--database", alias)
            if name == "backup_copy":
                assert (answer.code, "one place" in answer.stderr) == (2, True)
            else:
                assert (answer.code, f"no database {alias!r}" in answer.stderr) == (2, True), answer.stderr

    @pytest.mark.parametrize("options", [["--resume"], ["--undo", "x"], ["--resume", "--to", "default"]])
    def test_also_to_finish_or_undo_a_restore(self, site: Site, options: list[str]) -> None:
        for alias in ("nosuch", ""):
            answer = site.call("backup_restore", *options, "--database", alias, "--yes")
            assert (answer.code, f"no database {alias!r}" in answer.stderr) == (2, True), answer.stderr

    @pytest.mark.usefixtures("books")
    def test_also_to_delete_what_is_damaged(self, site: Site) -> None:
        made = site.create()
        (site.backups / made.archive_key).unlink()
        answer = site.call("backup_delete", made.name, "--database", "nosuch", "--yes")
        assert (answer.code, made.key in site.stored()) == (2, True)

    def test_every_command_is_ours(self) -> None:
        assert all(isinstance(load_command_class("django_cfg.backup", name), BackupCommand) for name in COMMANDS)
