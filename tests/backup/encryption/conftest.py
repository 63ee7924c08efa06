"""Every test here has its own gpg homes: an empty user keyring, and a separate folder for private homes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gnupg_home import Laptop, make_passphrases_quick


@pytest.fixture(autouse=True)
def _isolated(server_home: object, temporary: object) -> None:
    """Keep the keyring of the user who runs the tests out of every test."""


@pytest.fixture(autouse=True)
def _quick_passphrases(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The passphrases of these tests are not attacked; ``slow_passphrases`` leaves them as slow as in real life."""
    if "slow_passphrases" not in request.fixturenames:
        make_passphrases_quick(monkeypatch)


@pytest.fixture
def slow_passphrases() -> None:
    """Passphrases are stretched as much as the product does."""


@pytest.fixture
def key(laptop: Laptop, tmp_path: Path) -> Path:
    """The file of the protected private key."""
    path = tmp_path / "private.asc"
    path.write_text(laptop.home.private(laptop.protected, laptop.PASSPHRASE))
    return path
