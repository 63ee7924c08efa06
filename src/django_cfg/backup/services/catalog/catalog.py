"""Which backups exist: read from the storage alone, never from the history."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol, TypeVar

from pydantic import Field, SkipValidation

from django_cfg.backup.errors import (
    BackupError,
    BackupNotFound,
    ManifestError,
    StorageError,
    UsageError,
    VerificationFailed,
)
from django_cfg.backup.formatting import listed
from django_cfg.backup.manifest import (
    MAX_STORED,
    PIN_SUFFIX,
    PROOF_SUFFIX,
    SUFFIX,
    Manifest,
    Proof,
    Signature,
    check_signature,
    proved_name,
)
from django_cfg.backup.records import ErrorText, Record
from django_cfg.backup.services.catalog.naming import is_later_of_same_name, name_pattern
from django_cfg.backup.services.project.project import Project
from django_cfg.backup.services.project.subject import note_subject
from django_cfg.backup.storage.base import Storage, StoredObject

LATEST = "latest"
_DISTRUST = {Signature.NONE: "unsigned", Signature.BAD: "bad signature"}
_REMEMBERED = 2_000  # contents
_SMALL = 100_000  # bytes
_A = TypeVar("_A")
_R = TypeVar("_R")
_log = logging.getLogger("django_cfg.backup")


class Damaged(Record):
    """A pair that is no longer a backup: its manifest cannot be read, or its archive is missing or cut short."""

    name: str
    error: ErrorText
    manifest: SkipValidation[Manifest | None] = Field(default=None, exclude=True)  # None when it cannot be read

    @property
    def archive_keys(self) -> tuple[str, ...]:
        """Empty when its manifest cannot be read."""
        return self.manifest.archive_keys if self.manifest else ()


CopyKind = Literal["intact", "missing", "damaged", "unknown"]  # unknown: the place could not be read


class CopyState(Record):
    """How a backup is in one of the places."""

    name: str  # of the place
    state: CopyKind


@dataclass(frozen=True)
class Catalog:
    """The content of a storage, or of several places that keep copies of the same backups."""

    location: str
    backups: tuple[Manifest, ...]  # newest first
    damaged: tuple[Damaged, ...]
    pinned: frozenset[str] = frozenset()  # names
    proofs: Mapping[str, Proof] = field(default_factory=dict)  # name: its last drill, succeeded or failed
    unreadable_proofs: frozenset[str] = frozenset()  # names whose last proof cannot be read
    proof_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name: of its proofs, the last one last
    signatures: Mapping[str, Signature] = field(default_factory=dict)  # by name; empty without a signing key
    proof_objects: Mapping[str, StoredObject] = field(default_factory=dict)  # by key
    # Of several places alone; see read_places.
    copies: Mapping[str, tuple[CopyState, ...]] = field(default_factory=dict)  # by the backup's name
    by_place: Mapping[str, Catalog] = field(default_factory=dict)
    away: Mapping[str, BackupError] = field(default_factory=dict)  # by place, why it could not be read
    damaged_copies: Mapping[str, tuple[Damaged, ...]] = field(default_factory=dict)  # by place; intact elsewhere

    def is_proved(self, manifest: Manifest) -> bool:
        """The last drill of this very archive succeeded."""
        proof = self.proofs.get(manifest.name)
        return proof is not None and proof.proves(manifest)

    def of(self, project: Project) -> list[Manifest]:
        return [manifest for manifest in self.backups if project.owns(manifest.source)]

    def document(self, manifest: Manifest) -> dict[str, Any]:
        """*manifest* as ``--json`` prints it, with what its signature says if there is a signing key."""
        signature = self.signatures.get(manifest.name)
        copies = [state.model_dump() for state in self.copies.get(manifest.name, ())]
        return (
            manifest.document | ({"signature": signature} if signature else {}) | ({"places": copies} if copies else {})
        )

    def distrust(self, manifest: Manifest) -> str:
        """Return why *manifest* is not trusted, in a few words; empty if it is, or if there is no signing key."""
        return _DISTRUST.get(self.signatures.get(manifest.name, Signature.GOOD), "")

    def require_signature(self, manifest: Manifest, *, allow_unsigned: bool = False) -> None:
        """
        :raises VerificationFailed: there is a signing key, and it did not sign *manifest*.
        """
        signature = self.signatures.get(manifest.name, Signature.GOOD)
        if signature is Signature.BAD:
            raise VerificationFailed(
                f"{manifest.name} has a bad signature: its manifest was changed or forged, or was signed with a key "
                "that is not among signing_key and earlier_signing_keys. It is not restored. Use another backup, keep "
                "this one for the investigation, and find out who can write to the storage."
            )
        if signature is Signature.NONE and not allow_unsigned:
            raise VerificationFailed(
                f"{manifest.name} is not signed, and BackupConfig.signing_key is set: anyone who can write to the "
                "storage could have put it there. If it was made before the key was set, and you trust it, give "
                "--allow-unsigned."
            )


class Reader(Protocol):
    """Reads small objects that were listed; :class:`Storage` itself, or what keeps copies of them."""

    def __call__(self, objects: Iterable[StoredObject], /) -> Iterator[tuple[str, bytes | StorageError]]: ...


def read_catalog(storage: Storage, signing_keys: Sequence[str] = (), read: Reader | None = None) -> Catalog:
    """Read every manifest. A damaged one is reported with the others, not instead of them.

    :param signing_keys: those of which one has to have signed each manifest; empty: signatures are not looked at.
    :param read: what reads the objects that are listed; None: the storage.
    """
    read = read or (lambda found: storage.read_many(sorted(each.key for each in found)))
    listed = {found.key: found for found in storage.list()}
    objects = {key: found.size for key, found in listed.items()}
    too_large = {key for key, size in objects.items() if size > MAX_STORED}
    backups: list[Manifest] = []
    damaged: list[Damaged] = []
    signatures: dict[str, Signature] = {}
    damaged += [_describe_size(key, objects[key]) for key in sorted(filter(is_manifest, too_large))]
    for key, data in read(found for key, found in listed.items() if is_manifest(key) and key not in too_large):
        manifest = None
        try:
            manifest = _read(key, data)
            _require_complete_archives(storage, manifest, objects)
            backups.append(manifest)
            if signing_keys:
                signatures[manifest.name] = _signature(_content_or_raise(data), tuple(signing_keys))
        except BackupError as error:
            damaged.append(Damaged(name=key.removesuffix(SUFFIX), error=error, manifest=manifest))
        except Exception as error:  # noqa: BLE001  an object that no test foresaw must not hide the others
            _log.exception("The manifest %r was not understood", key)
            unknown = ManifestError(
                f"The manifest {key} cannot be read ({type(error).__name__}). Report this as a bug."
            )
            damaged.append(Damaged(name=key.removesuffix(SUFFIX), error=unknown))
    backups.sort(key=lambda manifest: (manifest.started_at, manifest.name), reverse=True)
    pinned = frozenset(key.removesuffix(PIN_SUFFIX) for key in objects if key.endswith(PIN_SUFFIX))
    keys = proof_keys(objects)
    proofs, unreadable = _proofs(read, listed, {found[-1]: name for name, found in keys.items()}, too_large)
    of_proofs = {key: listed[key] for of_name in keys.values() for key in of_name}
    return Catalog(
        storage.location, tuple(backups), tuple(damaged), pinned, proofs, unreadable, keys, signatures, of_proofs
    )


def find_intact(storage: Storage, name: str) -> Manifest | None:
    """The one backup of exactly this *name*, without reading all others; None: there is none, or it is damaged.

    :raises StorageError: the storage cannot be read.
    """
    key = f"{name}{SUFFIX}"
    if storage.stat(key) is None:
        return None
    try:
        manifest = _read(key, storage.read(key))
        _require_complete_archives(storage, manifest)
    except (ManifestError, VerificationFailed):
        return None
    return manifest


def proof_keys(keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By the name of the backup, those of *keys* that are proofs of it, the last one last."""
    found: dict[str, list[str]] = {}
    for key in keys:
        if name := proved_name(key):
            found.setdefault(name, []).append(key)
    return {name: tuple(sorted(of_name)) for name, of_name in found.items()}


def _proofs(
    read: Reader, listed: Mapping[str, StoredObject], names: Mapping[str, str], too_large: Set[str]
) -> tuple[dict[str, Proof], frozenset[str]]:
    """Read the proofs under the keys of *names*; the names of those that cannot be read, which prove nothing."""
    proofs = {}
    unreadable = {names[key] for key in names.keys() & too_large}
    for key, data in read(listed[key] for key in names.keys() - too_large):
        try:
            proof = _read_proof(_content_or_raise(data), key)
            proofs[proof.name] = proof
        except BackupError as error:
            unreadable.add(names[key])
            _log.warning("A proof is ignored: %s", error)
    return proofs, frozenset(unreadable)


def is_manifest(key: str) -> bool:
    return key.endswith(SUFFIX) and not key.endswith((PROOF_SUFFIX, PIN_SUFFIX))


def find_backup(catalog: Catalog, project: Project, name: str, alias: str | None = None) -> Manifest:
    """The backup called *name*: exactly, by an unambiguous beginning, or ``latest``.

    The errors of the call under way are named after it.

    :raises BackupNotFound: there is none.
    :raises UsageError: the beginning fits several, or ``latest`` of several databases.
    """
    manifest = _find(catalog, project, name, alias)
    note_subject(database=manifest.source.database, backup=manifest.name)
    return manifest


def _find(catalog: Catalog, project: Project, name: str, alias: str | None) -> Manifest:
    require_known_database(project, catalog, alias)
    if name == LATEST:
        return latest_backup(catalog, project, alias)
    if not name:
        raise UsageError("The name of the backup is empty; `backup_list` shows the names.")
    wanted = [m for m in catalog.backups if alias is None or m.source.database == alias]
    exact = [manifest for manifest in wanted if manifest.name == name]
    if not exact and any(damaged.name == name for damaged in catalog.damaged):
        raise _not_found(catalog, name)
    found = exact or [m for m in wanted if m.name.startswith(name) and not is_later_of_same_name(m.name, name)]
    fitting = [manifest.name for manifest in found]
    if not exact:
        fitting += [damaged.name for damaged in catalog.damaged if damaged.name.startswith(name)]
    if found and len(fitting) > 1:
        raise UsageError(f"{name!r} fits {len(fitting)} backups: {listed(fitting, 5)}. Write more of the name.")
    if not found:
        raise _not_found(catalog, name)
    return found[0]


def require_known_database(project: Project, catalog: Catalog, alias: str | None) -> None:
    """
    :raises UsageError: settings.DATABASES has no *alias*, and the storage no backup of it.
    """
    known = {*project.databases, *(manifest.source.database for manifest in catalog.backups)}
    if alias is not None and alias not in known:
        raise UsageError(
            f"There is no database {alias!r} in settings.DATABASES, and no backup of one in {catalog.location}; known "
            f"aliases are: {', '.join(sorted(known)) or 'none'}."
        )


def latest_backup(catalog: Catalog, project: Project, alias: str | None) -> Manifest:
    """The newest backup of this project, environment and the one database."""
    own = [m for m in catalog.of(project) if alias is None or m.source.database == alias]
    databases = sorted({manifest.source.database for manifest in own})
    if len(databases) > 1:
        raise UsageError(
            f"There are backups of several databases ({', '.join(databases)}): choose one with --database."
        )
    # made to undo a restore; `latest` does not mean such a backup
    regular = [manifest for manifest in own if manifest.trigger != "before-restore"]
    if not own:
        whose = f"{project.name}/{project.env}" + (f"/{alias}" if alias else "")
        raise BackupNotFound(
            f"There is no backup of {whose} in {catalog.location}. `backup_list --all` shows those of other sources."
        )
    return (regular or own)[0]


def damaged_of(project: Project, catalog: Catalog, alias: str) -> list[Damaged]:
    """The damaged pairs of one source: as their manifest says, and as they are named where that cannot be read."""
    named = name_pattern(project.config.filename_template, env=project.env, database=alias)
    return [
        damaged
        for damaged in catalog.damaged
        if (
            damaged.manifest.source == project.source(alias)
            if damaged.manifest
            else named.fullmatch(damaged.name) is not None
        )
    ]


def describe_damage(found: Sequence[Damaged]) -> str:
    """What to say of them; empty when there are none."""
    text = " ".join(str(damaged.error) for damaged in found[:5])
    return text + (f" And {len(found) - 5} more are damaged." if len(found) > 5 else "")


def _not_found(catalog: Catalog, name: str) -> BackupError:
    for damaged in sorted(catalog.damaged, key=lambda damaged: damaged.name != name):
        if damaged.name.startswith(name):
            return damaged.error
    later = [each.name for each in catalog.backups if is_later_of_same_name(each.name, name)]
    hint = f"{listed(later, 5)} is another one. " if later else ""
    return BackupNotFound(
        f"There is no backup {name!r} in {catalog.location}. {hint}`backup_list --all` shows what there is."
    )


def _read(key: str, data: bytes | BackupError) -> Manifest:
    return _read_manifest(_content_or_raise(data), key)


def _remembered(read: Callable[[bytes, _A], _R]) -> Callable[[bytes, _A], _R]:
    """A process that looks often understands each small content once; what is made of it is frozen."""
    of_small = lru_cache(_REMEMBERED)(read)
    return lambda data, more: of_small(data, more) if len(data) <= _SMALL else read(data, more)


_read_manifest = _remembered(Manifest.from_json)
_read_proof = _remembered(Proof.from_json)
_signature = _remembered(check_signature)


def _content_or_raise(data: bytes | BackupError) -> bytes:
    if isinstance(data, BackupError):
        raise data
    return data


def _describe_size(key: str, size: int) -> Damaged:
    error = ManifestError(
        f"The manifest {key} has {size:,} bytes, and none of ours has more than {MAX_STORED:,}: it is another file, "
        "or was replaced. Move it out of the storage."
    )
    return Damaged(name=key.removesuffix(SUFFIX), error=error)


def _look_again(storage: Storage, manifest: Manifest) -> int | None:
    """The archive's size: of a pair that was published during the listing only half may have been seen."""
    found = storage.stat(manifest.archive_key)
    return found.size if found else None


def _require_complete_archives(storage: Storage, manifest: Manifest, listed: Mapping[str, int] | None = None) -> None:
    """
    :param listed: the sizes of objects, by key, as far as they are known.
    """
    for part in manifest.parts:
        _require_complete_archive(part, (listed or {}).get(part.archive_key) or _look_again(storage, part))


def _require_complete_archive(manifest: Manifest, size: int | None) -> None:
    if size is None:
        raise VerificationFailed(
            f"The archive {manifest.archive_key} is missing, its manifest {manifest.key} is there: something other "
            "than this package removed it. Look for a copy; `backup_delete` removes what is left."
        )
    if size != manifest.archive.size:
        raise VerificationFailed(
            f"The archive {manifest.archive_key} has {size:,} bytes, its manifest says {manifest.archive.size:,}: it "
            "was cut short or replaced. Use another backup; `backup_delete` removes this one."
        )
