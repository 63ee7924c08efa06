"""What ``filename_template`` may be: the name of a backup, before it has one."""

from __future__ import annotations

import string

_VARIABLES = {"database", "timestamp", "env"}


def check_template(template: str) -> str:
    """
    :raises ValueError: backups could not be named by it.
    """
    _check_variables(template)
    _check_path(template)
    return template


def _check_variables(template: str) -> None:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"filename_template has a brace too many or too few ({error})") from None
    names = {name for _, name, _, _ in parsed if name is not None}
    if unknown := sorted(names - _VARIABLES):
        raise ValueError(f"filename_template may hold {{database}}, {{timestamp}} and {{env}}, not {{{unknown[0]}}}")
    if missing := sorted({"database", "timestamp"} - names):
        wanted = " and ".join(f"{{{name}}}" for name in missing)
        raise ValueError(f"filename_template must include {wanted}: without it backups share a name")
    if any(spec or conversion for _, _, spec, conversion in parsed):
        raise ValueError("filename_template takes plain {database}, {timestamp}, {env}, without format")


def _check_path(template: str) -> None:
    if "\\" in template or not template.isprintable():
        raise ValueError("filename_template may not hold backslashes or control characters")
    parts = template.split("/")
    if "" in parts or any(part.startswith(".") for part in parts):
        raise ValueError(
            "filename_template makes a relative path: no leading, trailing or double /, no part that begins with a dot"
        )
    if template.endswith((".json", ".proof", ".pin")):
        raise ValueError("filename_template may not end in .json, .proof or .pin: those name our own objects")
