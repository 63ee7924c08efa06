"""docs/configuration.md says what the models are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import django_cfg
from django_cfg.not_provided import FIELDS

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "docs" / "generate_configuration.py"
PAGE = ROOT / "docs" / "configuration.md"
README = ROOT / "README.md"


def generate(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", SCRIPT, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_tables_are_current() -> None:
    done = generate("--check")
    assert done.returncode == 0, done.stderr


def test_a_stale_table_is_reported_and_generated_again(tmp_path: Path) -> None:
    page = tmp_path / "configuration.md"
    page.write_text(PAGE.read_text(encoding="utf-8").replace("| `keep_daily` | `int` | `7` |", "| ? |"))
    checked = generate("--check", page)
    assert checked.returncode == 1
    assert "stale" in checked.stderr
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


PAGES = [PAGE, *(ROOT / "docs" / f"{name}.md" for name in ("storage", "from-django-cfg", "from-django-dbbackup"))]


@pytest.mark.parametrize("block", examples(*PAGES))
def test_every_example_builds(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in re.findall(r"\$\{(\w+)\}", block):
        monkeypatch.setenv(variable, "postgres://h/shop" if variable == "DATABASE_URL" else "value-of-a-variable")
    block = re.sub(r"(?m)^(from shop|globals\(\)).*$", "", block)
    names = {name: getattr(django_cfg, name) for name in django_cfg.__all__} | {"INSTALLED_APPS": []}
    exec("from datetime import time\n" + block, names | {"__name__": __name__, "__file__": __file__})  # noqa: S102


@pytest.mark.parametrize("page", [README, *sorted((ROOT / "docs").glob("from-*.md"))], ids=lambda page: page.name)
def test_every_link_between_pages_has_a_target(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", linked.read_text("utf-8"))
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_the_page_from_django_cfg_names_every_field_that_is_refused() -> None:
    section = (ROOT / "docs" / "from-django-cfg.md").read_text("utf-8").split("\n## What is refused")[1]
    assert set(re.findall(r"`(\w+)`", section.split("Importing")[0])) - {"TypeError", "extra_settings"} == FIELDS
