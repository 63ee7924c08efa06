"""obstore's clients for one place: how long they wait, and how often they try again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, TypedDict, Unpack

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.base import Immutability
from django_cfg.backup.storage.object_store.place import Place

if TYPE_CHECKING:
    from obstore import Attributes, ObjectMeta
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

    Store = AzureStore | GCSStore | S3Store

_CONNECT = timedelta(seconds=10)
# An endpoint that does not answer is reported within a minute: no attempt begins after `retry_timeout`.
_REQUEST = timedelta(seconds=20)
_REQUEST_RETRIES: RetryConfig = {"max_retries": 6, "retry_timeout": timedelta(seconds=30)}
# A part has to get through a slow line in one piece: 8 MiB at a quarter of a megabit a second. Signatures hold for
# 15 minutes.
_PART = timedelta(seconds=300)
# A download may take days, but no minute without a byte.
_STREAM, _SILENCE = timedelta(days=7), timedelta(seconds=60)
_PART_RETRIES: RetryConfig = {"max_retries": 8, "retry_timeout": timedelta(seconds=500)}


class SentWith(TypedDict):
    """What a service keeps with an object."""

    attributes: Attributes | None
    tags: dict[str, str] | None


class Client(ABC):
    """Opened at its first use: what is only configured connects nowhere."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._is_seen = False

    @cached_property
    def requests(self) -> Store:
        """For everything small."""
        return self._open(_REQUEST_RETRIES, connect_timeout=_CONNECT, timeout=_REQUEST)

    @cached_property
    def parts(self) -> Store:
        """For the parts of an upload."""
        return self._open_for_parts(_PART_RETRIES, connect_timeout=_CONNECT, timeout=_PART)

    @cached_property
    def streams(self) -> Store:
        """For reading something large."""
        return self._open(_REQUEST_RETRIES, connect_timeout=_CONNECT, timeout=_STREAM, read_timeout=_SILENCE)

    def _open_for_parts(self, retries: RetryConfig, **timeouts: Unpack[ClientConfig]) -> Store:
        return self._open(retries, **timeouts)

    @abstractmethod
    def _open(self, retries: RetryConfig, **timeouts: Unpack[ClientConfig]) -> Store:
        """Everything is set: obstore would take the rest from environment variables meant for other programs."""

    @abstractmethod
    def storage_error(self, error: BaseException, doing: str) -> StorageError:
        """*error* of obstore as one of ours. Raise it ``from None``: the original is not fit to be shown."""

    def pages_despite(self, error: BaseException, prefix: str) -> Iterator[Sequence[ObjectMeta]]:
        """Yield the pages of a list that *error* has ended: a key below *prefix* is no path.

        :raises StorageError: nothing but obstore can list them here.
        """
        raise StorageError(
            f"Could not list the objects, in {self.place.location}: {str(error).partition('Debug source')[0]} "
            "Remove or rename that object with another tool; no backup has such a key."
        ) from None

    def sent_with(self, key: str) -> SentWith:
        """Return what goes with the object *key*."""
        return {"attributes": None, "tags": None}

    def immutability(self) -> Immutability | None:
        """Return what the place says of versions and locks; None: it keeps nothing, or cannot be asked."""
        return None

    def require_lock(self, key: str) -> None:  # noqa: B027  most places lock nothing
        """
        :raises StorageError: *key* is to be locked, and the place cannot.
        """

    def lock(self, key: str) -> None:  # noqa: B027
        """Lock an object that was stored, if the configuration says so."""

    def once(self, look: Callable[[], None]) -> None:
        """Make sure of the place, the first time only; *look* raises when there is none."""
        if not self._is_seen:
            look()
            self._is_seen = True
