"""docs/configuration.md says what the models are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import django_cfg

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "docs" / "generate_configuration.py"
PAGE = ROOT / "docs" / "configuration.md"


def generate(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", SCRIPT, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_tables_are_current() -> None:
    done = generate("--check")
    assert done.returncode == 0, done.stderr


def test_a_stale_table_is_told_and_made_anew(tmp_path: Path) -> None:
    page = tmp_path / "configuration.md"
    page.write_text(PAGE.read_text(encoding="utf-8").replace("| `keep_daily` | `int` | `7` |", "| ? |"))
    told = generate("--check", page)
    assert told.returncode == 1
    assert "stale" in told.stderr
    assert generate(page).returncode == 0
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", django_cfg.__all__)
def test_every_model_has_its_table(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    table = re.search(rf"<!-- table:{name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert table
    for parameter in getattr(django_cfg, name).model_fields:
        assert f"| `{parameter}` |" in table[1]


def examples(*pages: Path) -> list[str]:
    return [block for page in pages for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]


@pytest.mark.parametrize("block", examples(PAGE, ROOT / "docs" / "storage.md"))
def test_every_example_builds(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in re.findall(r"\$\{(\w+)\}", block):
        monkeypatch.setenv(variable, "value")
    block = re.sub(r"(?m)^(from shop|globals\(\)).*$", "", block)
    names = {name: getattr(django_cfg, name) for name in django_cfg.__all__} | {"INSTALLED_APPS": []}
    exec("from datetime import time\n" + block, names | {"__name__": __name__})  # noqa: S102
