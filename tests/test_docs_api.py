"""docs/api.md is what the docstrings of the Python API say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import django_cfg.backup as api

ROOT = Path(__file__).resolve().parent.parent
SCRIPT, PAGE = ROOT / "docs" / "generate_api.py", ROOT / "docs" / "api.md"


def generate(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", SCRIPT, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_is_current_and_names_everything() -> None:
    done = generate("--check")
    assert done.returncode == 0, done.stderr
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in api.__all__ if not re.search(rf"\b{name}\b", page)] == []


def test_a_stale_page_is_reported_and_generated_again(tmp_path: Path) -> None:
    page = tmp_path / "api.md"
    page.write_text(PAGE.read_text(encoding="utf-8").replace("### get_backup", "### got_backup"))
    checked = generate("--check", page)
    assert (checked.returncode, "stale" in checked.stderr) == (1, True)
    assert generate(page).returncode == 0
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_its_examples_import_what_there_is() -> None:
    for block in re.findall(r"```python\n(from .*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                assert {name.name for name in node.names} <= set(api.__all__)
