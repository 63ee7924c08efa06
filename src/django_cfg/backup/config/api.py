"""The HTTP API: who may use it, and for what."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from django_cfg.backup.config.encryption_key import usable_secret
from django_cfg.base_config import ConfigModel

SHORTEST_TOKEN = 32  # characters; too many to be guessed, however many guesses are made
_LONGEST_TOKEN = 512
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what the header Authorization takes: RFC 6750


class BackupApiConfig(ConfigModel):
    """The HTTP API, whose addresses are in ``django_cfg.backup.api.urls``. Without tokens there is none."""

    exact = frozenset({"tokens"})

    tokens: list[str] = Field(
        [], repr=False, description="Bearer tokens, one for each client; without any, the API does not exist"
    )
    allow_restore: bool = Field(False, description="Clients may start restores")
    allow_download: bool = Field(False, description="Clients may download archives, as they are stored")
    requests_per_minute: int = Field(
        60,
        ge=1,
        le=100_000,
        description="Requests of each token in a minute; those without a valid token are counted by client address",
    )

    @field_validator("tokens")
    @classmethod
    def _tokens_are_usable(cls, value: list[str]) -> list[str]:
        tokens = [usable_secret(f"token {number}", text, _require_token) for number, text in enumerate(value, 1)]
        if len(set(tokens)) < len(tokens):
            raise ValueError("tokens holds one more than once: give each client its own")
        return tokens


def _require_token(text: str) -> None:
    """
    :raises ValueError: *text* cannot be sent, or guessed too easily; the message does not show it.
    """
    advice = "`openssl rand -hex 32` makes a good one"
    if len(text) < SHORTEST_TOKEN:
        raise ValueError(f"it has fewer than {SHORTEST_TOKEN} characters; {advice}")
    if len(text) > _LONGEST_TOKEN or not _TOKEN.fullmatch(text):
        raise ValueError(
            f"it is at most {_LONGEST_TOKEN} letters, digits and -._~+/ in one line, with = at its end if at all, "
            f"since it is sent in a header; {advice}"
        )
