"""Where backups are kept."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from django_cfg.base_config import ConfigModel

Addressing = Literal["auto", "path", "virtual"]
ServerSideEncryption = Literal["AES256", "aws:kms"]
LockMode = Literal["GOVERNANCE", "COMPLIANCE"]

ROLE_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")  # with s3_use_role

# From them an object has to be ordered back, for hours: no backup could be verified, or restored when it is needed.
_OFFLINE_CLASSES = ("GLACIER", "DEEP_ARCHIVE")
_STORAGE_CLASS = re.compile(r"[A-Z][A-Z0-9_]*")
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]*")
# Of Amazon's headers those that begin an upload, and are not repeated with its parts: S3 refuses them there.
_OF_AN_UPLOAD = re.compile(r"x-amz-tagging|x-amz-meta-[a-z0-9-]+")
_WITH_A_PARAMETER = {
    "x-amz-storage-class": "s3_storage_class",
    "x-amz-server-side-encryption": "s3_sse",
    "x-amz-server-side-encryption-aws-kms-key-id": "s3_sse_kms_key_id",
    "x-amz-object-lock-mode": "s3_object_lock_mode",
    "x-amz-object-lock-retain-until-date": "s3_object_lock_days",
    "x-amz-security-token": "s3_session_token",
}
_OF_THE_CLIENT = re.compile(
    r"authorization|host|date|content-(length|md5|encoding)|transfer-encoding|connection|expect|range|if-.*|trailer"
    r"|upgrade|user-agent|accept.*|x-amz-(date|content-sha256|checksum-.*|sdk-.*|copy-.*|trailer|decoded-.*)"
)


# With GCS or Azure and no credentials in the configuration: variables that hold some.
CHAIN_VARIABLES = (
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_BEARER_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_CLIENT_SECRET",
)
_NEEDED = {
    "gcs": ("gcs_bucket",),
    "azure": ("azure_container", "azure_account"),
    "rclone": ("rclone_remote",),
    "django": ("django_alias",),
}
_REMOTE = re.compile(r"[\w.+@][\w.+@ -]*:[^\0]*")  # the name of a section of rclone.conf, and a path


class BackupStorageConfig(ConfigModel):
    """Where backups are kept: a local folder, a bucket of an object store, or what rclone or Django can reach."""

    backend: Literal["local", "s3", "gcs", "azure", "rclone", "django"] = Field(
        "local", description="Kind of storage; each has parameters of its own"
    )
    local_path: str = Field("backups/", min_length=1, description="Local folder, absolute or relative to BASE_DIR")
    s3_bucket: str | None = Field(None, description="Bucket name")
    # Not shown: some put a key into the URL, which is refused when it is used.
    s3_endpoint_url: str | None = Field(None, repr=False, description="Custom endpoint (R2, MinIO)")
    s3_access_key: str | None = Field(None, repr=False, description="Access key ID")
    s3_secret_key: str | None = Field(None, repr=False, description="Secret access key")
    s3_session_token: str | None = Field(None, repr=False, description="Session token of temporary keys")
    s3_use_role: bool = Field(
        False, description="Without keys: use those of the machine's role, or of the AWS variables of the environment"
    )
    s3_region: str = Field("auto", description="Region; `auto` for R2")
    s3_prefix: str = Field("db-backups/", description="Key prefix in the bucket")
    s3_addressing: Addressing = Field(
        "auto",
        description="Where requests name the bucket: in the `path`, or in the host (`virtual`); `auto`: the service "
        "is asked where both are possible",
    )
    gcs_bucket: str | None = Field(None, description="Bucket of Google Cloud Storage")
    gcs_prefix: str = Field("db-backups/", description="Key prefix in the bucket")
    gcs_credentials: str | None = Field(
        None,
        repr=False,
        description="Key of a service account: its JSON, or the path of a file with it; default: the machine's own "
        "credentials",
    )
    gcs_endpoint_url: str | None = Field(None, repr=False, description="Another address than Google's")
    azure_container: str | None = Field(None, description="Container of Azure Blob Storage")
    azure_account: str | None = Field(None, description="Name of the storage account")
    azure_account_key: str | None = Field(
        None, repr=False, description="Access key; without it and a token: the machine's own identity"
    )
    azure_sas_token: str | None = Field(None, repr=False, description="Shared access signature, instead of the key")
    azure_prefix: str = Field("db-backups/", description="Key prefix in the container")
    azure_endpoint_url: str | None = Field(
        None, repr=False, description="Another address than `https://ACCOUNT.blob.core.windows.net`"
    )
    # Not shown: some put a password into it, which is refused.
    rclone_remote: str | None = Field(
        None, repr=False, description="Remote of rclone and a path in it: `offsite:backups/shop`"
    )
    rclone_config: str | None = Field(
        None, min_length=1, description="Path of rclone.conf; default: that of the user who runs the backup"
    )
    django_alias: str | None = Field(None, description="Alias of settings.STORAGES")
    s3_storage_class: str | None = Field(
        None, description="Storage class of the archives, such as `STANDARD_IA`; one that can be read at once"
    )
    s3_sse: ServerSideEncryption | None = Field(None, description="Encryption by the service: `AES256` or `aws:kms`")
    s3_sse_kms_key_id: str | None = Field(None, description="The KMS key of `aws:kms`; else the account's default key")
    # Not shown: a gateway may want a token.
    s3_extra_headers: dict[str, str] = Field(
        default_factory=dict, repr=False, description="Headers sent with each upload, such as `x-amz-tagging`"
    )
    s3_object_lock_days: int | None = Field(
        None, ge=1, le=36_500, description="Days for which each backup is locked after it was stored (object lock)"
    )
    s3_object_lock_mode: LockMode = Field(
        "GOVERNANCE", description="`GOVERNANCE`: some users may remove a lock; `COMPLIANCE`: no user may"
    )

    @field_validator("s3_storage_class")
    @classmethod
    def _can_be_read_at_once(cls, value: str | None) -> str | None:
        if value in _OFFLINE_CLASSES:
            raise ValueError(
                f"the storage class {value} has to be ordered back for hours before it can be read, so no backup could "
                "be verified, drilled or restored: use GLACIER_IR, which costs about as little and is read at once"
            )
        if value is not None and not _STORAGE_CLASS.fullmatch(value):
            raise ValueError("a storage class is a word in capital letters, such as STANDARD_IA")
        return value

    @field_validator("s3_extra_headers")
    @classmethod
    def _headers_can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        headers = {name.lower(): text for name, text in value.items()}
        for name, text in headers.items():
            if reason := _reason_to_refuse(name, text):
                raise ValueError(f"the header {name!r} {reason}")
        if len(headers) < len(value):
            raise ValueError("a header is given twice, in small and in capital letters")
        return headers

    @model_validator(mode="after")
    def _details_fit_together(self) -> Self:
        if self.s3_sse_kms_key_id and self.s3_sse != "aws:kms":
            raise ValueError('s3_sse_kms_key_id is the key of s3_sse="aws:kms": set both')
        if self.s3_object_lock_days and self.s3_use_role:
            raise ValueError(
                "s3_object_lock_days needs s3_access_key and s3_secret_key: with the keys of a role let the bucket "
                "lock its objects (its default retention; docs/storage.md)"
            )
        return self

    @model_validator(mode="after")
    def _s3_is_complete(self) -> Self:
        if self.backend != "s3":
            return self
        keys = ("s3_access_key", "s3_secret_key", "s3_session_token")
        if given := [name for name in keys if self.s3_use_role and getattr(self, name)]:
            raise ValueError(
                f"s3_use_role takes the keys of the machine's role, and {', '.join(given)} would not be used: "
                "remove them, or set s3_use_role=False"
            )
        needed = ("s3_bucket",) if self.s3_use_role else ("s3_bucket", "s3_access_key", "s3_secret_key")
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(
                f'backend="s3" needs {", ".join(missing)}: set them here, for secrets as "${{VAR}}", '
                'or use backend="local". On a machine with a role s3_use_role=True takes the place of the keys'
            )
        return self

    @model_validator(mode="after")
    def _others_are_complete(self) -> Self:
        if missing := [name for name in _NEEDED.get(self.backend, ()) if not getattr(self, name)]:
            raise ValueError(
                f'backend="{self.backend}" needs {", ".join(missing)}: set {"it" if len(missing) == 1 else "them"} '
                'here, or use backend="local"'
            )
        return self

    @model_validator(mode="after")
    def _azure_has_one_credential(self) -> Self:
        if self.backend == "azure" and self.azure_account_key and self.azure_sas_token:
            raise ValueError("azure_account_key and azure_sas_token cannot both be used: leave one of them out")
        return self

    @model_validator(mode="after")
    def _rclone_remote_is_a_name(self) -> Self:
        if self.backend == "rclone" and not _REMOTE.fullmatch(self.rclone_remote or ""):
            raise ValueError(
                "rclone_remote is the name of a remote in rclone.conf, a colon and a path, like offsite:backups/shop "
                "(`rclone listremotes` lists the names). Options and passwords belong into rclone.conf: every user of "
                "the machine can read the command line of rclone"
            )
        return self


def _reason_to_refuse(name: str, text: str) -> str:
    """Say why a header cannot be sent with every upload; empty if it can."""
    if not _HEADER.fullmatch(name) or not text.isprintable() or not text.isascii():
        return "or its value holds what no header may hold"
    if parameter := _WITH_A_PARAMETER.get(name):
        return f"is set by {parameter}"
    if _OF_THE_CLIENT.fullmatch(name):
        return "is set for each request, since it belongs to its signature or its content"
    if name == "x-amz-acl" or name.startswith("x-amz-grant-"):
        return (
            "cannot be sent with the parts of a large upload, which S3 refuses with it: let the bucket own its objects "
            "instead (Object Ownership: bucket owner enforced)"
        )
    if name.startswith("x-amz-") and not _OF_AN_UPLOAD.fullmatch(name):
        return "of Amazon cannot be sent with all requests of an upload; x-amz-tagging and x-amz-meta-... can"
    return ""
