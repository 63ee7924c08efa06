"""Everything that can go wrong, as one tree. The number is the exit code of a command that meets it.

::

    BackupError                  1   the root: catch this to catch all of them
    ├── ConfigurationError       2   settings.BACKUP is missing or cannot be used
    ├── UsageError               2   the call is wrong: an unknown alias, an ambiguous name
    ├── BackupNotFound           5   no backup of that name, or none at all
    ├── RunNotFound              5   no run of that number, or none that is going on
    ├── AlreadyRunning           1   another backup of this source is being made
    ├── HistoryUnavailable       1   the history table cannot be read or written: nothing was claimed
    ├── QueueUnavailable         1   a job cannot be put on its RQ queue
    ├── UnsupportedEngine        1   no engine of ours knows this database
    ├── DatabaseUnavailable      1   the database is missing, empty or does not answer
    ├── ToolNotFound             1   a program that is needed is not installed
    ├── ToolTooOld               1   a program that is needed is older than the server
    ├── ToolFailed               1   a program ended with an error; its last words are in the message
    ├── ToolTimedOut             1   a program was ended by a limit of the settings
    ├── DumpFailed               1   the dump did not come to its end: nothing was published
    ├── EncryptionError          1   encrypting or decrypting failed: nothing was stored in plain
    │   └── KeyMissing           1   what opens the archive is not on this machine
    ├── StorageError             1   the storage refused or failed
    │   ├── NameTaken            1   an object of that name is there already; nothing is overwritten
    │   ├── NotEnoughSpace       1   with the bytes needed and the bytes free, where they are known
    │   └── ObjectLocked         1   the storage does not allow the object to be deleted yet
    ├── ManifestError            1   a manifest that cannot be read or believed
    ├── VerificationFailed       1   the bytes are not the ones that were stored
    │   └── TablesDiffer         1   tables or row counts are not those of the manifest
    ├── RestoreRefused           1   refused before anything was touched
    │   └── RestoreUnderWay      1   another restore or drill of the same database has to end first
    ├── RestoreFailed            1   failed; the message says how the target is: as it was, wherever that can be
    ├── ClockSkew                1   a backup from the future: nothing is pruned by a wrong clock
    ├── Cancelled                1   a person has ended it: nothing was published or replaced
    ├── Declined                 1   asked, and the answer was no
    ├── Unhealthy                4   nothing failed, and something wants attention
    ├── AllFailed                1   every one of several backups or copies failed
    └── SomeFailed               3   some databases failed, others succeeded
        └── CopyFailed           3   the backup is made, and missing in a place where it is required

A message says what happened, to what, and what to do next. None of them carries a secret. What a function of the Python
API raises has the attributes ``database`` and ``backup``, as far as they are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Self

from django_cfg.backup.formatting import counted, megabytes, one_paragraph


class BackupError(Exception):
    """The root of all errors of this package: a message, or several paragraphs, without control characters."""

    exit_code: ClassVar[int] = 1
    database: str | None = None  # alias of the database that the call was about, where it is known
    backup: str | None = None  # name of the backup that the call was about, where it is known

    def __str__(self) -> str:
        return "\n".join(one_paragraph(str(paragraph)) for paragraph in self.args)


class ConfigurationError(BackupError):
    exit_code = 2


class UsageError(BackupError):
    exit_code = 2


class BackupNotFound(BackupError):
    exit_code = 5


class RunNotFound(BackupError):
    exit_code = 5


class AlreadyRunning(BackupError):
    pass


class HistoryUnavailable(BackupError):
    pass


class QueueUnavailable(BackupError):
    pass


class UnsupportedEngine(BackupError):
    pass


class DatabaseUnavailable(BackupError):
    pass


class ToolNotFound(BackupError):
    pass


class ToolTooOld(BackupError):
    pass


class ToolFailed(BackupError):
    """Carries the tool's exit code and last lines, so that an engine can say what they mean."""

    def __init__(self, tool: str, exit_code: int, last_words: str) -> None:
        self.tool, self.tool_exit_code, self.last_words = tool, exit_code, last_words
        ending = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
        super().__init__(f"{tool} {ending}: {last_words or 'it said nothing'}")


class ToolTimedOut(BackupError):
    def __init__(self, tool: str, limit: int) -> None:
        super().__init__(
            f"{tool} had not ended after {counted(limit, 'second')}, the limit that dump_timeout sets, and was ended. "
            "Nothing was published. See what held it up (a lock, a network, a slow disk), or raise the limit."
        )


class DumpFailed(BackupError):
    pass


class EncryptionError(BackupError):
    pass


class KeyMissing(EncryptionError):
    pass


class StorageError(BackupError):
    @classmethod
    def from_os(cls, doing: str, where: object, error: OSError) -> StorageError:
        """Put an operating system's error into words."""
        return StorageError(f"Could not {doing} {where}: {error.strerror or error}.")


class NameTaken(StorageError):
    @classmethod
    def of(cls, key: str, location: str) -> Self:
        return cls(
            f"{key} exists already in {location}, and nothing is ever overwritten. "
            "Another backup took the name while this one was written: run the backup again."
        )


class NotEnoughSpace(StorageError):
    @classmethod
    def of(cls, where: object, needed: int, free: int, advice: str) -> Self:
        return cls(f"Not enough space in {where}: {megabytes(needed)} needed, {megabytes(free)} free. {advice}")


class ObjectLocked(StorageError):
    """Nothing is wrong: object lock, a legal hold, a retention rule of the bucket."""


class ManifestError(BackupError):
    pass


class VerificationFailed(BackupError):
    pass


class TablesDiffer(VerificationFailed):
    """Carries what was found: the rows by table."""

    def __init__(self, message: str, found: Mapping[str, int]) -> None:
        super().__init__(message)
        self.found = found


class RestoreRefused(BackupError):
    pass


class RestoreUnderWay(RestoreRefused):
    pass


class RestoreFailed(BackupError):
    pass


class ClockSkew(BackupError):
    @classmethod
    def of(cls, name: str, source: object, started_at: datetime, now: datetime) -> Self:
        return cls(
            f"{name} of {source} is dated {started_at:%Y-%m-%d %H:%M:%S} UTC, and here it is "
            f"{now:%Y-%m-%d %H:%M:%S} UTC: one of the two clocks is wrong. Nothing was pruned, and nothing will be. "
            "Set this machine's clock; if it is right, "
            f"`backup_delete {name}` removes that backup."
        )


class Cancelled(BackupError):
    pass


class Declined(BackupError):
    pass


class Unhealthy(BackupError):
    exit_code = 4


class _OfSeveral(BackupError):
    """Carries what was made, and why the rest was not."""

    def __init__(
        self, *paragraphs: str, made: Sequence[str] = (), errors: Mapping[str, BackupError] | None = None
    ) -> None:
        super().__init__(*paragraphs)
        self.made = tuple(made)  # names of the backups that are made; of a copy, of the places that have it now
        self.errors = dict(errors or {})  # by database; of a copy, by place


class AllFailed(_OfSeveral):
    """Carries ``errors``: by alias the error of each database, or by place that of each copy."""


class SomeFailed(_OfSeveral):
    """Carries ``errors`` as :class:`AllFailed` does, and ``made``: the names of the backups or places that worked."""

    exit_code = 3


class CopyFailed(SomeFailed):
    """Carries the manifest of the backup, which is made; ``errors`` is by place."""

    def __init__(self, manifest: Any, *paragraphs: str, errors: Mapping[str, BackupError] | None = None) -> None:
        super().__init__(*paragraphs, made=(manifest.name,), errors=errors)
        self.manifest = manifest
        self.database, self.backup = manifest.source.database, manifest.name
