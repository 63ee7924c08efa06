"""Modules of the admin that need no admin: the settings of the tests do not install it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import django_cfg.backup


def load_admin_module(name: str) -> ModuleType:
    """The file *name* of the admin package, without the package, whose import registers pages."""
    path = Path(django_cfg.backup.__file__).parent / "admin" / f"{name}.py"
    alias = f"django_cfg.tests_of_admin_{name}"  # coverage counts what is in this package
    spec = importlib.util.spec_from_file_location(alias, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[alias] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
