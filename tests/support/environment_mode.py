"""The variables that name the environment a project runs in."""

from __future__ import annotations

import pytest

from django_cfg.environment_mode import FLAGS, VARIABLES

MODE_VARIABLES = (*VARIABLES, *FLAGS)


def clear_mode_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MODE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
