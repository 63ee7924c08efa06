"""The shape of the source: short functions, short files, no registry's host and no path of one machine."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for p in (ROOT / "src").rglob("*.py") if "migrations" not in p.parts or p.name == "migrations.py")


def functions() -> Iterator[int]:
    """The lengths of all functions, in lines."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno:
                yield node.end_lineno - node.lineno + 1


def test_functions_are_short() -> None:
    lengths = list(functions())
    assert statistics.median(lengths) <= 10
    assert max(lengths) <= 50


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


def test_no_file_names_a_registry_or_a_place_of_one_machine() -> None:
    """Installation goes through the ordinary clients, wherever they are pointed."""
    named = re.compile("|".join(("pypi" + r"\.org", "npmjs" + r"\.(org|com)", "deb" + r"\.debian\.org", "/ro" + "ot/")))
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    found = [name for name in listed.splitlines() if named.search((ROOT / name).read_text(errors="replace"))]
    assert found == []
