"""The places that keep the backups: the storage of the settings, which is ``main``, and its copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from django_cfg.backup.config.backup import MAIN_PLACE, BackupConfig, BackupRetentionConfig
from django_cfg.backup.config.storage import BackupStorageConfig
from django_cfg.backup.errors import ConfigurationError, StorageError
from django_cfg.backup.storage import open_storage
from django_cfg.backup.storage.base import Storage

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Place:
    """One of them. Its retention is its own."""

    name: str
    config: BackupStorageConfig
    storage: Storage
    retention: BackupRetentionConfig
    required: bool = True  # a backup that is missing there is a fault

    def __str__(self) -> str:
        return f"{self.name} ({self.storage.location})"


def open_places(config: BackupConfig, base_dir: Path | None) -> tuple[Place, ...]:
    """Return ``main`` and the copies, in the order of the settings. Nothing is asked of a service.

    :raises ConfigurationError: a backend is not available, or two of them may be the same place.
    """
    places = (
        Place(MAIN_PLACE, config.storage, open_storage(config.storage, base_dir), config.retention),
        *(
            Place(copy.name, copy.storage, open_storage(copy.storage, base_dir), copy.retention, copy.required)
            for copy in config.copies
        ),
    )
    _refuse_same_place(places)
    return places


def _refuse_same_place(places: Sequence[Place]) -> None:
    for one, other in combinations(places, 2):
        if one.storage.overlaps(other.storage):
            raise ConfigurationError(
                f"BackupConfig.copies: {one} and {other} are the same place, or one lies in the other. A copy there "
                "would be none, and its retention would delete backups of the other: give each a place of its own."
            )


def do_in_each(places: Sequence[Place], do: Callable[[Place], T]) -> tuple[list[T], dict[Place, StorageError]]:
    """Return what *do* returned in each place, and why it failed in the others: one does not keep another from it."""
    results: list[T] = []
    failures: dict[Place, StorageError] = {}
    for place in places:
        try:
            results.append(do(place))
        except StorageError as error:
            failures[place] = error
    return results, failures


def raise_failures(failures: Mapping[Place, StorageError], places: Sequence[Place], what: str) -> None:
    """
    :param what: says what was not done, and is followed by the place.
    :raises StorageError: something failed.
    """
    if len(places) == 1:
        for error in failures.values():
            raise error
    if failures:
        raise StorageError(*(f"{what} in {place}: {error}" for place, error in failures.items()))
