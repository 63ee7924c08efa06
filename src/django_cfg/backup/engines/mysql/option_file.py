"""Option files: the one of the project that is read, and the short-lived one of ours that the programs read.

A password goes to them by no other way: a command line is seen by every user of the machine, an environment by
every process of this one. https://dev.mysql.com/doc/refman/8.4/en/option-files.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.process.private_dir import private_dir

_GROUP = re.compile(r"\[(?P<name>[^\]]*)\]")
_MEANINGS = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", "\\": "\\", '"': '"', "'": "'"}
_SPELLINGS = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"}


@dataclass(frozen=True)
class OptionFile:
    """An option file of ours, for as long as a program may need it."""

    path: Path
    secrets: tuple[str, ...] = field(repr=False)  # that it holds

    @property
    def argument(self) -> str:
        """The first one of a program that is to read it, and nothing else."""
        return f"--defaults-file={self.path}"


@contextmanager
def option_file(options: Mapping[str, str | None]) -> Iterator[OptionFile]:
    """A file with *options* that only this user may read, gone at the end of the block.

    What a killed process left is removed by the next one: see :mod:`django_cfg.backup.process.private_dir`.
    """
    with private_dir() as folder:
        path = folder / "client.cnf"
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(written(options))
        yield OptionFile(path, _secrets(options))


def _secrets(options: Mapping[str, str | None]) -> tuple[str, ...]:
    """A password that is a name, too, is none."""
    password = options.get("password")
    names = [value for name, value in options.items() if name != "password"]
    return () if password is None or password in names else (password, _quoted(password)[1:-1])


def written(options: Mapping[str, str | None]) -> str:
    """The text of an option file; None stands for an option without a value."""
    lines = [name if value is None else f"{name}={_quoted(value)}" for name, value in options.items()]
    return "\n".join(("[client]", *lines, ""))


def _quoted(value: str) -> str:
    return '"' + "".join(_SPELLINGS.get(character, character) for character in value) + '"'


def read_option_file(path: str, group: str) -> dict[str, str]:
    """The options of ``[client]`` and *group* in the file that OPTIONS["read_default_file"] names.

    :raises ConfigurationError: it cannot be read.
    """
    try:
        lines = Path(path).expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}, the read_default_file in OPTIONS, cannot be read: {getattr(error, 'strerror', error)}."
        ) from error
    options: dict[str, str] = {}
    current = ""
    for line in map(str.strip, lines):
        if found := _GROUP.match(line):
            current = found["name"].strip()
        elif line and line[0] not in "#;!" and current in ("client", group):
            name, _, value = line.partition("=")
            options[name.strip().replace("_", "-").removeprefix("loose-")] = _meant(value.strip())
    return options


def _meant(value: str) -> str:
    """A value as the programs take it: without its quotes, the comment behind it, and its escapes."""
    quote = value[:1] if value[:1] in ("'", '"') else ""
    if quote and (closed := re.match(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}", value)):
        value = closed[1]
    elif not quote:
        value = value.partition("#")[0].strip()
    return re.sub(r"\\(.)", lambda found: _MEANINGS.get(found[1], found[0]), value)
