"""Write the parameter tables of configuration.md from the models: between the markers, nothing else.

``python docs/generate_configuration.py`` writes; with ``--check`` it changes nothing, and exits
with 1 when the tables are not current.
"""

from __future__ import annotations

import argparse
import re
import sys
import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import django_cfg

PAGE = Path(__file__).with_name("configuration.md")
TABLE = re.compile(r"(?<=<!-- table:)(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
HEAD = "| Parameter | Type | Default | Range | Description |\n|---|---|---|---|---|\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when stale")
    parser.add_argument("page", nargs="?", type=Path, default=PAGE)
    options = parser.parse_args()
    text = options.page.read_text(encoding="utf-8")
    current = with_tables(text)
    if text == current:
        return 0
    if options.check:
        print(f"{options.page.name} is stale: run python docs/generate_configuration.py", file=sys.stderr)
        return 1
    options.page.write_text(current, encoding="utf-8")
    return 0


def with_tables(text: str) -> str:
    """*text* with the table between each pair of markers generated again."""
    return TABLE.sub(lambda match: f"{match[1]}{match[2]}{table(getattr(django_cfg, match[1]))}", text)


def table(model: type[BaseModel]) -> str:
    rows = (row(name, field) for name, field in model.model_fields.items())
    return HEAD + "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def row(name: str, field: FieldInfo) -> tuple[str, ...]:
    kind = code(type_name(field.annotation)).replace("|", "\\|")
    return f"`{name}`", kind, default(field), limits(field), field.description or ""


def type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "str"
    if origin in (Union, UnionType):
        return " | ".join(type_name(argument) for argument in arguments)
    if arguments:
        return f"{origin.__name__}[{', '.join(type_name(argument) for argument in arguments)}]"
    if annotation is NoneType:
        return "None"
    return "Any" if annotation is typing.Any else annotation.__name__


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Path):
        return code(f'"{value}"')
    if isinstance(value, BaseModel) or (isinstance(value, dict) and value):
        return "see below"
    return code(f'"{value}"' if isinstance(value, str) else repr(value))


def limits(field: FieldInfo) -> str:
    """The range of a number, the choices of a word."""
    choices = [choice for choice in get_args(field.annotation) if get_origin(field.annotation) is Literal]
    if choices:
        return ", ".join(code(choice) for choice in choices)
    rules = {type(rule): rule for rule in field.metadata}
    if Ge in rules and Le in rules:
        return f"{rules[Ge].ge}-{rules[Le].le}"
    if Ge in rules or Gt in rules:
        return f"at least {rules[Ge].ge if Ge in rules else rules[Gt].gt + 1}"
    return "not empty" if MinLen in rules else ""


def code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    sys.exit(main())
