"""The container of Azure Blob Storage that a configuration names, and who we are there."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.process.redaction import redact
from django_cfg.backup.storage.object_store.place import parse_endpoint, parse_prefix

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")


@dataclass(frozen=True)
class Container:
    """What BackupStorageConfig says of Azure, checked and completed. Without key and token: the machine's own."""

    name: str
    prefix: str  # "" or ends with a slash
    account: str
    endpoint: str
    account_key: str | None = field(repr=False)
    sas_token: str | None = field(repr=False)

    @classmethod
    def of(cls, config: BackupStorageConfig) -> Container:
        """
        :raises ConfigurationError: a parameter cannot be used.
        """
        account = config.azure_account or ""
        if not _ACCOUNT.fullmatch(account):
            raise ConfigurationError(
                f"BackupStorageConfig.azure_account is {account!r}: it is the name of the storage account alone, 3 to "
                "24 lower-case letters and digits; an address belongs into azure_endpoint_url."
            )
        url = config.azure_endpoint_url or f"https://{account}.blob.core.windows.net"
        keys = "azure_account_key or azure_sas_token"
        return cls(
            name=config.azure_container or "",
            prefix=parse_prefix(config.azure_prefix, "azure_prefix"),
            account=account,
            endpoint=parse_endpoint(url, "azure_endpoint_url", default="that of azure_account", keys=keys),
            account_key=_account_key(config.azure_account_key),
            sas_token=_sas_token(config.azure_sas_token),
        )

    @property
    def location(self) -> str:
        return f"{self.endpoint}/{self.name}/{self.prefix}"

    @property
    def identity(self) -> str:
        return f"{self.endpoint} {self.name}"

    def redact(self, text: str) -> str:
        """Return *text* without secrets."""
        signature = dict(parse_qsl(self.sas_token or "")).get("sig")
        signatures = (signature, unquote(signature)) if signature else ()
        return redact(text, (self.account_key, self.sas_token, *signatures))


def _account_key(value: str | None) -> str | None:
    try:
        b64decode(value or "", validate=True)
    except ValueError:
        raise ConfigurationError(
            "BackupStorageConfig.azure_account_key is no key of a storage account, which is base64: copy it again from "
            '"Access keys" in the portal, without "AccountKey=" in front.'
        ) from None
    return value or None


def _sas_token(value: str | None) -> str | None:
    token = (value or "").lstrip("?")
    if token and not dict(parse_qsl(token)).get("sig"):
        raise ConfigurationError(
            "BackupStorageConfig.azure_sas_token is no shared access signature: it begins like sv=...&sp=... and holds "
            "sig=...; copy the token, not the URL."
        )
    return token or None
