"""Warnings that show where they come from: ``DjangoConfig.debug_warnings``."""

from __future__ import annotations

import sys
import traceback
import warnings
from typing import TextIO


def show_origin_of_warnings() -> None:
    """Print the stack above each RuntimeWarning, and print each one instead of the first of its kind."""
    warnings.simplefilter("always", RuntimeWarning)
    warnings.showwarning = _show


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    out = file or sys.stderr
    if issubclass(category, RuntimeWarning):
        traceback.print_stack(sys._getframe(1), file=out)
    out.write(warnings.formatwarning(message, category, filename, lineno, line))
