"""What is sent with an object: its storage class, how the service encrypts it, tags, headers; how long it is locked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from django_cfg.backup.config.storage import BackupStorageConfig, LockMode
from django_cfg.backup.manifest import PIN_SUFFIX, SUFFIX

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import S3Config

_PROBE = ".probe"  # of backup_check, which deletes it at once
_TAGS, _METADATA = "x-amz-tagging", "x-amz-meta-"
# Attributes of an object to obstore, which signs them and sends them once; all other headers go with every request.
_ATTRIBUTES = ("cache-control", "content-disposition", "content-language", "content-type")


@dataclass(frozen=True)
class UploadSettings:
    """What BackupStorageConfig says of the objects."""

    storage_class: str | None = None
    sse: str | None = None
    sse_kms_key_id: str | None = None
    extra_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # names in lower case
    lock_days: int | None = None
    lock_mode: LockMode = "GOVERNANCE"

    @classmethod
    def of(cls, config: BackupStorageConfig) -> UploadSettings:
        return cls(
            storage_class=config.s3_storage_class,
            sse=config.s3_sse,
            sse_kms_key_id=config.s3_sse_kms_key_id,
            extra_headers=tuple(config.s3_extra_headers.items()),
            lock_days=config.s3_object_lock_days,
            lock_mode=config.s3_object_lock_mode,
        )

    @property
    def config(self) -> S3Config:
        """How the service encrypts what is uploaded."""
        config: S3Config = {}
        if self.sse:
            config["server_side_encryption"] = self.sse
        if self.sse_kms_key_id:
            config["sse_kms_key_id"] = self.sse_kms_key_id
        return config

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every request of an upload."""
        return {name: text for name, text in self.extra_headers if not _is_of_the_object(name)}

    def attributes(self, key: str) -> Attributes:
        """What goes with the object *key*. Only archives have another storage class: sidecars are small, and are read
        and deleted often, which costs more there than it saves."""
        found: Attributes = {}
        for name, text in self.extra_headers:
            if name in _ATTRIBUTES:
                found[name.title()] = text
            elif name.startswith(_METADATA):
                found[name.removeprefix(_METADATA)] = text
        if self.storage_class and _is_archive(key):
            found["Storage-Class"] = self.storage_class
        return found

    @property
    def tags(self) -> dict[str, str]:
        return dict(parse_qsl(dict(self.extra_headers).get(_TAGS, ""), keep_blank_values=True))

    def is_locked(self, key: str) -> bool:
        """Whether *key* is locked when it is stored. A pin is there to be taken away, a probe too."""
        return self.lock_days is not None and not key.endswith((PIN_SUFFIX, _PROBE))


def _is_of_the_object(name: str) -> bool:
    return name in _ATTRIBUTES or name == _TAGS or name.startswith(_METADATA)


def _is_archive(key: str) -> bool:
    return not key.endswith((SUFFIX, _PROBE))
