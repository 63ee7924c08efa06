"""Who is sent events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from django_cfg.backup.config import encryption_key as keys
from django_cfg.base_config import ConfigModel

WebhookEvent = Literal[
    "backup_succeeded",
    "backup_failed",
    "backup_deleted",
    "prune_failed",
    "verification_succeeded",
    "verification_failed",
    "restore_succeeded",
    "restore_failed",
    "incident_opened",
    "incident_closed",
]


class BackupWebhookConfig(ConfigModel):
    """An address that is sent events, signed."""

    exact = frozenset({"secret"})

    url: str = Field(repr=False, description="Address that events are sent to by POST, http or https")
    secret: str = Field(repr=False, description="Secret that signs each request (HMAC-SHA256)")
    events: list[WebhookEvent] = Field([], description="The events that are sent; empty: all")

    @field_validator("url")
    @classmethod
    def _url_is_of_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("url begins with http:// or https://")
        return value

    @field_validator("secret")
    @classmethod
    def _secret_is_usable(cls, value: str) -> str:
        return keys.usable_secret("secret", value, keys.parse_signing_key)

    def wants(self, event: WebhookEvent) -> bool:
        """Return True if *event* is sent to it."""
        return event in self.events or not self.events
