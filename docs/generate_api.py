"""Write the sections of api.md from the docstrings of the Python API: between the markers, nothing else.

``python docs/generate_api.py`` writes; with ``--check`` it changes nothing, and exits with 1 when a section is not
current.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import django
from django.conf import settings
from pydantic import BaseModel

PAGE = Path(__file__).with_name("api.md")
SECTION = re.compile(r"(?<=<!-- api:)(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
FIELD = re.compile(r"^:(param|returns|raises) ?(\w*): (.*)$", re.DOTALL)
FUNCTIONS = (
    "create_backup", "create_backups", "list_backups", "get_backup", "verify_backup", "drill_backup", "restore_backup",
    "download_backup", "copy_backup", "adopt_backup", "pin_backup", "unpin_backup", "delete_backup", "prune_backups",
    "backup_status", "check_backups",
)  # fmt: skip
WORDS = {"Moment": "datetime", "LineOfText": "str", "ErrorText": "BackupError", "Digest": "str", "Size": "int"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when stale")
    parser.add_argument("page", nargs="?", type=Path, default=PAGE)
    options = parser.parse_args()
    text = options.page.read_text(encoding="utf-8")
    current = with_sections(text)
    if text == current:
        return 0
    if options.check:
        print(f"{options.page.name} is stale: run python docs/generate_api.py", file=sys.stderr)
        return 1
    options.page.write_text(current, encoding="utf-8")
    return 0


def with_sections(text: str) -> str:
    """*text* with what is between each pair of markers generated again."""
    settings.configure(INSTALLED_APPS=["django_cfg.backup"], SECRET_KEY="of no use")  # noqa: S106
    django.setup()
    sections = {"functions": functions, "results": results, "errors": errors}
    return SECTION.sub(lambda match: f"{match[1]}{match[2]}{sections[match[1]]()}", text)


def exported() -> dict[str, Any]:
    from django_cfg import backup

    return {name: getattr(backup, name) for name in backup.__all__}


def functions() -> str:
    known = {name: value for name, value in exported().items() if inspect.isfunction(value)}
    if set(FUNCTIONS) != set(known):
        sys.exit("FUNCTIONS in docs/generate_api.py has to name all of them.")
    return "\n".join(function(name, known[name]) for name in FUNCTIONS)


def function(name: str, value: Any) -> str:
    text, fields = split(value)
    lines = [f"### {name}", "", "```python", signature(name, value), "```", "", text, ""]
    parameters = [f"- `{of}`: {markdown(about)}" for kind, of, about in fields if kind == "param"]
    returns = [f"Returns {markdown(about)}" for kind, _, about in fields if kind == "returns"]
    raises = [f"- [`{of}`](#errors): {markdown(about)}" for kind, of, about in fields if kind == "raises"]
    lines += [*parameters, *([""] if parameters else []), *returns, *([""] if returns else [])]
    return "\n".join([*lines, *(["Raises", "", *raises, ""] if raises else [])])


def signature(name: str, value: Any) -> str:
    """As it is called: a parameter a line, where it does not fit on one."""
    found, parameters = inspect.signature(value), list[str]()
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        has_default = parameter.default is not parameter.empty
        default = f" = {literal(parameter.default)}" if has_default else ""
        parameters.append(f"{parameter.name}: {parameter.annotation}{default}")
    end = f") -> {found.return_annotation}"
    if len(line := f"{name}({', '.join(parameters)}{end}") <= 100:
        return line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), end])


def literal(default: object) -> str:
    from django_cfg.backup import NO_KEY

    if default is NO_KEY:
        return "NO_KEY"
    return f'"{default}"' if isinstance(default, str) else repr(default)


def split(value: Any) -> tuple[str, list[tuple[str, str, str]]]:
    """The text of a docstring, and its fields: kind, name, description."""
    before, *fields = re.split(r"\n(?=:(?:param|returns|raises)\b)", inspect.getdoc(value) or "")
    matches = [FIELD.match(" ".join(field.split())) for field in fields]
    return markdown(before), [(match[1], match[2], match[3]) for match in matches if match]


def markdown(text: str) -> str:
    text = re.sub(r":(?:func|class):`~?([\w.]+)`", r"``\1``", text)
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(
        re.sub(r"(?<!\*)\*(\w+)\*(?!\*)", r"`\1`", paragraph.replace("``", "`")) for paragraph in paragraphs
    )


def results() -> str:
    from django_cfg.backup.errors import BackupError

    kinds = [value for value in exported().values() if inspect.isclass(value) and not issubclass(value, BackupError)]
    return "\n".join(record(kind) for kind in sorted(kinds, key=lambda kind: kind.__name__))


def record(kind: type) -> str:
    text, fields = split(kind)
    lines = [f"### {kind.__name__}", "", *([text, ""] if own_docstring(kind) else [])]
    described = {of: about for _, of, about in fields}
    rows = [
        f"| `{name}` | {code(hint)} | {markdown(about or described.get(name, ''))} |"
        for name, hint, about in members(kind)
    ]
    return "\n".join([*lines, *(["| | Type | |", "|---|---|---|", *rows, ""] if rows else [])])


def own_docstring(kind: type) -> bool:
    return bool(vars(kind).get("__doc__")) and not (kind.__doc__ or "").startswith(f"{kind.__name__}(")


def code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def members(kind: type) -> Iterator[tuple[str, str, str]]:
    """The public fields with their comments, properties and methods with their docstrings: name, type, description."""
    source = textwrap.dedent(inspect.getsource(kind))
    lines = source.splitlines()
    public = {name for name, field in getattr(kind, "model_fields", {}).items() if not field.exclude}
    for node in cast(ast.ClassDef, ast.parse(source).body[0]).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            if (issubclass(kind, BaseModel) and name in public) or dataclasses.is_dataclass(kind):
                comment = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset or 0 :].partition("# ")[2]
                yield name.rstrip("_"), type_name(node.annotation), comment.partition("  #")[0].strip()
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, "", f"`{ast.literal_eval(node.value)}`"
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "on", "from_json", "to_json")):
            about = (ast.get_docstring(node) or "").partition("\n\n")[0]
            is_property = any(ast.unparse(each) == "property" for each in node.decorator_list)
            if about or is_property:
                returned = ast.unparse(node.returns) if node.returns else ""
                yield (node.name if is_property else f"{node.name}({arguments(node)})"), returned, about


def arguments(node: ast.FunctionDef) -> str:
    return ", ".join(argument.arg for argument in node.args.args if argument.arg != "self")


def type_name(annotation: ast.expr) -> str:
    """The annotation, in the words of the Python standard library where ours are aliases of its."""
    text = ast.unparse(annotation)
    for alias, meaning in WORDS.items():
        text = re.sub(rf"\b{alias}\b", meaning, text)
    return re.sub(r"Annotated\[(\w+), .*\]$", r"\1", text)


def errors() -> str:
    from django_cfg.backup import errors as module
    from django_cfg.backup.errors import BackupError

    tree = textwrap.dedent((module.__doc__ or "").split("::\n\n")[1].split("\n\n")[0])
    more = {
        name: (vars(kind).get("__doc__") or "").strip()
        for name, kind in exported().items()
        if inspect.isclass(kind) and issubclass(kind, BackupError) and kind is not BackupError
    }
    carried = [f"- `{name}`: {markdown(text)}" for name, text in sorted(more.items()) if text.startswith("Carries")]
    return "\n".join(["```text", tree, "```", "", *carried, ""])


if __name__ == "__main__":
    sys.exit(main())
