"""Where backups are kept."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from django_cfg.base_config import ConfigModel

Addressing = Literal["auto", "path", "virtual"]

ROLE_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")  # with s3_use_role


class BackupStorageConfig(ConfigModel):
    """Where backups are kept: a local folder, or a bucket of any S3-compatible service."""

    backend: Literal["local", "s3"] = Field("local", description="Storage type: `local` or `s3`")
    local_path: str = Field("backups/", min_length=1, description="Local folder, absolute or relative to BASE_DIR")
    s3_bucket: str | None = Field(None, description="Bucket name")
    # Not shown: some put a key into the URL, which is refused when it is used.
    s3_endpoint_url: str | None = Field(None, repr=False, description="Custom endpoint (R2, MinIO)")
    s3_access_key: str | None = Field(None, repr=False, description="Access key ID")
    s3_secret_key: str | None = Field(None, repr=False, description="Secret access key")
    s3_session_token: str | None = Field(None, repr=False, description="Session token of temporary keys")
    s3_use_role: bool = Field(
        False,
        description="Without keys: use those of the machine's role, or of the AWS variables of the environment",
    )
    s3_region: str = Field("auto", description="Region; `auto` for R2")
    s3_prefix: str = Field("db-backups/", description="Key prefix in the bucket")
    s3_addressing: Addressing = Field(
        "auto",
        description="Where requests name the bucket: in the `path`, or in the host (`virtual`); `auto`: the service "
        "is asked where both are possible",
    )

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
