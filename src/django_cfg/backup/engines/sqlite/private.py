"""Temporary copies of a database: room for them, and writing them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from django_cfg.backup.errors import NotEnoughSpace, StorageError
from django_cfg.backup.pipeline.stream import Readable, blocks
from django_cfg.backup.process.private_dir import create_private


def require_temporary_space(needed: int) -> None:
    """
    :raises NotEnoughSpace: fewer than *needed* bytes are free where temporary files go.
    """
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    if free < needed:
        raise NotEnoughSpace.of(
            place, needed, free, "A temporary copy is made there: free some, or set TMPDIR to another place."
        )


def write_temporary(path: Path, plain: Readable) -> None:
    """Write *plain* into the new temporary file *path*, for its owner alone."""
    with create_private(path) as file:
        for block in blocks(plain):
            try:
                file.write(block)
            except OSError as error:
                raise StorageError.from_os("write the temporary file", path, error) from error
