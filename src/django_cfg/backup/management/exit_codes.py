"""The exit codes of a command, as its ``--help`` lists them. The numbers are those of the errors."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.management.base import DjangoHelpFormatter

from django_cfg.backup.errors import BackupError, BackupNotFound, RunNotFound, SomeFailed, Unhealthy, UsageError

INTERRUPTED = 130
Meanings = Mapping[type[BackupError], str]
_OF_ALL: Meanings = {
    BackupError: "it failed, or the answer was no",
    UsageError: "wrong arguments, or settings that cannot be used",
}
NOT_FOUND: Meanings = {BackupNotFound: "there is no such backup"}
NO_RUN: Meanings = {RunNotFound: "there is no such run, or none that is going on"}
SOME_FAILED: Meanings = {SomeFailed: "some databases or places failed, others succeeded"}
UNHEALTHY: Meanings = {Unhealthy: "nothing failed, and something wants attention"}


def failing(meaning: str, *others: Meanings) -> Meanings:
    """Return *others* and what a failure means."""
    own: dict[type[BackupError], str] = {BackupError: meaning}
    for each in others:
        own |= each
    return own


def describe_exit_codes(own: Meanings) -> str:
    """Return what each exit code of a command means, a line each.

    :param own: the meanings that not every command has, or that are its own.
    """
    meanings = {error.exit_code: meaning for error, meaning in {**_OF_ALL, **own}.items()}
    meanings |= {0: "done", INTERRUPTED: "interrupted (Ctrl-C); ended by another signal: 128 and its number"}
    return "\n".join(["exit codes:", *(f"  {code:<4}{meanings[code]}" for code in sorted(meanings))])


class ExitCodesFormatter(DjangoHelpFormatter):
    """Keeps the lines of the exit codes."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("exit codes:") else super()._fill_text(text, width, indent)
