"""Where pairs of archive and manifest are kept."""

from __future__ import annotations

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
    if config.backend == "s3":
        return _open_bucket(config)
    path = Path(config.local_path)
    if not path.is_absolute() and base_dir is None:
        raise ConfigurationError(
            f"BackupStorageConfig.local_path is {config.local_path!r}, relative to BASE_DIR, "
            "and the settings have no BASE_DIR: make it absolute or define BASE_DIR."
        )
    return LocalStorage((base_dir or Path()) / path)


def _open_bucket(config: BackupStorageConfig) -> Storage:
    if find_spec("obstore") is None:
        raise ConfigurationError(
            "BackupStorageConfig.backend=\"s3\" needs obstore: pip install 'django-cfg-backup[s3]'."
        )
    from django_cfg.backup.storage.s3 import S3Storage
    from django_cfg.backup.storage.s3.bucket import Bucket

    return S3Storage(Bucket.of(config))
