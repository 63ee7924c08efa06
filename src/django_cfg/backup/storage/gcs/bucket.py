"""The bucket of Google Cloud Storage that a configuration names, and who we are there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.process.redaction import redact
from django_cfg.backup.storage.object_store.place import parse_endpoint, parse_prefix

GOOGLE = "https://storage.googleapis.com"
# Of obstore alone: Google's own programs do not read them, and here they cannot be overruled.
_PREFERRED = ("GOOGLE_BEARER_TOKEN", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH")
_PARTS = ("client_email", "private_key", "private_key_id")  # of a service account's key


@dataclass(frozen=True)
class GCSBucket:
    """What BackupStorageConfig says of Google Cloud Storage, checked and completed."""

    name: str
    prefix: str  # "" or ends with a slash
    endpoint: str
    credentials: str | None = field(repr=False)  # JSON of a service account's key; None: the machine's own

    @classmethod
    def of(cls, config: BackupStorageConfig) -> GCSBucket:
        """
        :raises ConfigurationError: a parameter cannot be used.
        """
        if config.gcs_credentials and (others := [name for name in _PREFERRED if os.environ.get(name)]):
            raise ConfigurationError(
                f"BackupStorageConfig.gcs_credentials and the variable {others[0]} of the environment both say who "
                "asks, and the variable would win: unset it for the process that makes backups, or leave "
                "gcs_credentials out."
            )
        url = config.gcs_endpoint_url or GOOGLE
        return cls(
            name=config.gcs_bucket or "",
            prefix=parse_prefix(config.gcs_prefix, "gcs_prefix"),
            endpoint=parse_endpoint(url, "gcs_endpoint_url", default="Google's", keys="gcs_credentials"),
            credentials=_credentials(config.gcs_credentials) if config.gcs_credentials else None,
        )

    @property
    def location(self) -> str:
        where = f"gs://{self.name}/{self.prefix}"
        return where if self.endpoint == GOOGLE else f"{where} at {self.endpoint}"

    @property
    def identity(self) -> str:
        return f"{self.endpoint} {self.name}"

    def redact(self, text: str) -> str:
        """Return *text* without secrets."""
        key = json.loads(self.credentials) if self.credentials else {}
        return redact(text, (self.credentials, key.get("private_key"), key.get("private_key_id")))


def _credentials(value: str) -> str:
    """The JSON of a service account's key: *value* itself, or what is in the file of that path."""
    text, where = (value, "") if value.lstrip().startswith("{") else (_content(value), f", the file {value},")
    try:
        key: Any = json.loads(text)
    except ValueError:
        key = None
    if not isinstance(key, dict) or key.get("type") != "service_account" or not key.keys() >= set(_PARTS):
        raise ConfigurationError(
            f"BackupStorageConfig.gcs_credentials{where} is no key of a service account: it takes the JSON that Google "
            'makes for one ("type": "service_account", with client_email, private_key_id and private_key), or the path '
            "of a file with it. Without gcs_credentials the machine's own credentials are used."
        )
    return json.dumps({name: key[name] for name in ("type", *_PARTS)})  # no address, which obstore would use


def _content(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        # A value that is no path may be a key: it is not repeated.
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is no text"
        where = f" ({path})" if path.startswith(("/", "~", "./", "../")) else ""
        raise ConfigurationError(
            f"BackupStorageConfig.gcs_credentials names a file{where} that cannot be read: {reason}. Give the path of "
            "a service account's key, or its JSON."
        ) from None
