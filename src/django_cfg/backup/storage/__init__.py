"""Where pairs of archive and manifest are kept."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.storage.base import Storage
from django_cfg.backup.storage.local import LocalStorage


def open_storage(config: BackupStorageConfig, base_dir: Path | None) -> Storage:
    """The storage that *config* describes; a relative ``local_path`` starts at *base_dir*.

    :raises ConfigurationError: the backend is not available, or the path has nothing to start from.
    """
    if config.backend == "local":
        return _open_folder(config, base_dir)
    return _OTHERS[config.backend](config)


def _open_folder(config: BackupStorageConfig, base_dir: Path | None) -> Storage:
    path = Path(config.local_path)
    if not path.is_absolute() and base_dir is None:
        raise ConfigurationError(
            f"BackupStorageConfig.local_path is {config.local_path!r}, relative to BASE_DIR, "
            "and the settings have no BASE_DIR: make it absolute or define BASE_DIR."
        )
    return LocalStorage((base_dir or Path()) / path)


# The others import what they need when they are opened.


def _open_s3(config: BackupStorageConfig) -> Storage:
    _require_obstore("s3")
    from django_cfg.backup.storage.object_store.storage import ObjectStorage
    from django_cfg.backup.storage.s3.bucket import Bucket
    from django_cfg.backup.storage.s3.client import S3Client

    return ObjectStorage(S3Client(Bucket.of(config)))


def _open_gcs(config: BackupStorageConfig) -> Storage:
    _require_obstore("gcs")
    from django_cfg.backup.storage.gcs.bucket import GCSBucket
    from django_cfg.backup.storage.gcs.client import GCSClient
    from django_cfg.backup.storage.object_store.storage import ObjectStorage

    return ObjectStorage(GCSClient(GCSBucket.of(config)))


def _open_azure(config: BackupStorageConfig) -> Storage:
    _require_obstore("azure")
    from django_cfg.backup.storage.azure.client import AzureClient
    from django_cfg.backup.storage.azure.container import Container
    from django_cfg.backup.storage.object_store.storage import ObjectStorage

    return ObjectStorage(AzureClient(Container.of(config)))


def _open_rclone(config: BackupStorageConfig) -> Storage:
    from django_cfg.backup.storage.rclone import RcloneStorage

    return RcloneStorage.of(config)


def _open_django(config: BackupStorageConfig) -> Storage:
    from django_cfg.backup.storage.django.storage import DjangoStorage

    return DjangoStorage.of(config)


def _require_obstore(backend: str) -> None:
    if find_spec("obstore") is None:
        raise ConfigurationError(
            f"BackupStorageConfig.backend=\"{backend}\" needs obstore: pip install 'django-cfg-backup[{backend}]'."
        )


_OTHERS: dict[str, Callable[[BackupStorageConfig], Storage]] = {
    "s3": _open_s3,
    "gcs": _open_gcs,
    "azure": _open_azure,
    "rclone": _open_rclone,
    "django": _open_django,
}
