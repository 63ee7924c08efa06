"""``${VAR}`` in configuration values: from the environment, then from a ``.env`` file."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

# An escape, or a reference with an optional default. The name is judged in _resolve, so that a
# misspelled one is reported instead of being taken literally.
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[^}:]*)(?P<colon>:)?(?P<default>[^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"key|secret|password|passphrase|token", re.IGNORECASE)  # no default is a secret


class MissingVariable(ValueError):
    """A ``${VAR}`` that neither the environment nor a ``.env`` file defines."""


def substitute(text: str, *, wanted_by: str) -> str:
    """Replace every ``${VAR}`` and ``${VAR:default}`` in *text*; ``$${`` is a literal ``${``.

    The default serves when the variable is unset or empty. Values are not searched again: a secret
    that happens to contain ``${`` arrives as it is.

    :param wanted_by: the parameter the text belongs to, named in the error.
    :raises MissingVariable: a variable is not set and has no default.
    :raises ValueError: ``${...}`` holds something that cannot be a variable's name.
    """
    return _REFERENCE.sub(lambda match: _resolve(match, wanted_by), text)


def substitute_all(value: Any, *, wanted_by: str) -> Any:
    """:func:`substitute` in every string within dicts, lists and tuples; all else stays as it is."""
    if isinstance(value, str):
        return substitute(value, wanted_by=wanted_by)
    if isinstance(value, dict):
        return {key: substitute_all(inner, wanted_by=f"{wanted_by}[{key!r}]") for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(substitute_all(inner, wanted_by=wanted_by) for inner in value)
    return value


def lookup(name: str) -> str | None:
    """The value of variable *name*, or None: the environment wins over ``.env`` files."""
    if name in os.environ:
        return os.environ[name]
    return next((values[name] for values in _dotenv_files() if name in values), None)


def _resolve(match: re.Match[str], wanted_by: str) -> str:
    if match[0] == "$${":
        return "${"
    name, default = match["name"], match["default"] if match["colon"] else None
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{wanted_by}: a variable's name has letters, digits and _, unlike the one in ${{...}} here; "
            "write $${ for a literal ${"
        )
    value = lookup(name)
    if default is not None:
        return value or default
    if value is None:
        default_hint = "" if _SECRET.search(f"{wanted_by} {name}") else f", or write ${{{name}:default}}"
        raise MissingVariable(
            f"{wanted_by} needs the variable {name}, which is not set: "
            f"set it in the environment or in a .env file{default_hint}"
        )
    return value


def _dotenv_files() -> Iterator[Mapping[str, str]]:
    """The nearest ``.env`` upward from the settings module's folder, then from the working directory."""
    found: set[Path] = set()
    for start in (_settings_folder(), Path.cwd()):
        path = _nearest_dotenv(start)
        if path and path not in found:
            found.add(path)
            values = dotenv_values(path, interpolate=False)
            yield {name: value for name, value in values.items() if value is not None}


def _nearest_dotenv(start: Path | None) -> Path | None:
    if start is None:
        return None
    return next((f for folder in (start, *start.parents) if (f := folder / ".env").is_file()), None)


def _settings_folder() -> Path | None:
    """The folder of the settings module, which may be half imported while this runs."""
    module = os.environ.get("DJANGO_SETTINGS_MODULE")
    if not module:
        return None
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded:
        return Path(loaded).resolve().parent
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).resolve().parent if spec and spec.origin else None
