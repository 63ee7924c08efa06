"""What a test needs of the machine. Missing, it is skipped with the reason; on CI that is a failure."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str) -> str:
    """The path of a program."""
    return shutil.which(name) or missing(f"the program {name} is not installed")


def root() -> None:
    """The right to mount a file system."""
    if os.geteuid() != 0:
        missing("only root may mount a file system")


def missing(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and on CI nothing is skipped")
    pytest.skip(reason)
