"""The shape of the source: short functions, short files, no registry's host and no path of one machine."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for p in (ROOT / "src").rglob("*.py") if "migrations" not in p.parts or p.name == "migrations.py")
LONGEST_FILE, LONGEST_FUNCTION, MEDIAN_FUNCTION = 500, 50, 10  # lines


def functions() -> Iterator[tuple[str, int]]:
    """Where each function is, and how many lines it has."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def test_files_and_functions_are_short() -> None:
    """Those that are too long are named, all of them."""
    files = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    long = [f"{name}: {lines} lines" for name, lines in files.items() if lines > LONGEST_FILE]
    long += [f"{name}: {lines} lines" for name, lines in functions() if lines > LONGEST_FUNCTION]
    assert not long, "\n".join(long)
    assert statistics.median(lines for _, lines in functions()) <= MEDIAN_FUNCTION


def test_the_test_folders_hold_only_tests() -> None:
    """Their support code is in tests/support."""
    name = re.compile(r"test_\w+|\w+_contract|conftest|__init__")
    paths = [path for path in (ROOT / "tests").rglob("*.py") if "support" not in path.parts]
    assert [str(path.relative_to(ROOT)) for path in paths if not name.fullmatch(path.stem)] == []


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    """Installation goes through the ordinary clients, wherever they are pointed."""
    named = re.compile("|".join(("pypi" + r"\.org", "npmjs" + r"\.(org|com)", "deb" + r"\.debian\.org", "/ro" + "ot/")))
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    found = [name for name in listed.splitlines() if named.search((ROOT / name).read_text(errors="replace"))]
    assert found == []


def test_a_project_works_without_extras(tmp_path: Path) -> None:
    """Nothing that an extra brings is imported before it is used."""
    extras = [
        "obstore",
        "psycopg",
        "psycopg2",
        "MySQLdb",
        "pymysql",
        "rq",
        "django_rq",
        "apprise",
        "redis",
        "celery",
        "prometheus_client",
        "health_check",
        "django_tasks",
    ]
    script = f"""
import sys
for name in {extras!r}:
    sys.modules[name] = None
import django
from django.conf import settings
from django.core.management import call_command
settings.configure(SECRET_KEY="x", BASE_DIR={str(tmp_path)!r}, INSTALLED_APPS=["django_cfg.backup"], USE_TZ=True,
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {str(tmp_path / "db.sqlite3")!r}}}}},
    BACKUP={{"enabled": True}})
django.setup()
call_command("check", verbosity=0)
call_command("migrate", verbosity=0)
for command in ("backup_create", "backup_list", "backup_verify latest --drill", "backup_restore --yes"):
    call_command(*command.split())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
