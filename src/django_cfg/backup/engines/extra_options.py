"""extra_options: which options may be added to the command of a dump program, and which are refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from django_cfg.backup.errors import UsageError
from django_cfg.backup.process.redaction import without_value


@dataclass(frozen=True)
class OptionRules:
    """Which options of one vendor's dump program may be given."""

    refused: Collection[str]  # long options that this package sets itself
    allowed_short: Collection[str]
    normalize: Callable[[str], str]  # gives every spelling of an option the same form
    why: str  # the effect of the refused options, and the settings to use instead
    example: str  # an option with a value


def check_extra_options(options: Sequence[str], alias: str, rules: OptionRules) -> list[str]:
    """Return *options*, each one argument of the dump program.

    :raises UsageError: one of them would choose output, connection, format, tables or data.
    """
    for option in options:
        if not is_allowed(option, rules):
            raise UsageError(
                f"extra_options of the database {alias!r} holds {without_value(option)!r}: {rules.why} Remove it. "
                f"Other options are given one item each, with = before a value: {rules.example!r}."
            )
    return list(options)


def is_allowed(option: str, rules: OptionRules) -> bool:
    """Return True if *option* may be given. The programs accept any unambiguous beginning of a long option."""
    if option in rules.allowed_short:
        return True
    name = rules.normalize(option.partition("=")[0])
    return len(name) > 2 and name.startswith("--") and not any(refused.startswith(name) for refused in rules.refused)
