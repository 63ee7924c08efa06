"""Every test here has gpg homes of its own: the user's keyring is empty, and private homes lie apart."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _apart(server_home: object, temporary: object) -> None:
    """No test meets the keyring of whoever runs the tests."""
