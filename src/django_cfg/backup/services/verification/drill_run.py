"""What a drill does in a staging database, and which failures are the backup's fault and which the environment's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django_cfg.backup.engines.base import Engine, Restoration
from django_cfg.backup.errors import BackupError, EncryptionError, RestoreFailed, TablesDiffer, VerificationFailed
from django_cfg.backup.manifest import Manifest, TableEvidence
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys
from django_cfg.backup.services.catalog.archives import CheckedArchives, check_archives, load_archives
from django_cfg.backup.services.project.progress import Progress, byte_progress
from django_cfg.backup.services.verification import fault
from django_cfg.backup.services.verification.migration_state import migration_differences
from django_cfg.backup.services.verification.restored_data import require_true
from django_cfg.backup.storage.base import Storage


def list_evidence(manifest: Manifest, found: Mapping[str, int]) -> tuple[TableEvidence, ...]:
    """Return what was expected and found, by table."""
    expected = {table.name: table for table in manifest.tables}
    evidence = [
        TableEvidence(name=name, expected=table.rows, found=found.get(name), exact=table.exact)
        for name, table in expected.items()
    ]
    strange = sorted(found.keys() - expected.keys())
    return (*evidence, *(TableEvidence(name=name, expected=None, found=found[name]) for name in strange))


class DrillRun:
    """One backup in one staging database: loaded, compared, queried.

    :param if_damaged: what to do where the stored bytes are not those of the manifest; "" if there is nothing to say.
    """

    def __init__(
        self,
        restoration: Restoration,
        storage: Storage,
        manifest: Manifest,
        keys: DecryptionKeys,
        progress: Progress,
        *,
        if_damaged: str,
    ) -> None:
        self._restoration = restoration
        self._storage = storage
        self._manifest = manifest
        self._keys = keys
        self._checked: CheckedArchives | None = None  # once they were
        self._progress = progress
        self._if_damaged = if_damaged
        self.differences: list[str] = []  # from what the manifest promises
        self.tables = 0  # compared
        self.rows = 0  # compared
        self.evidence: tuple[TableEvidence, ...] = ()
        self.queries = 0  # that gave a truthy value

    def run(self, queries: Sequence[str], *, check_first: bool) -> None:
        """Do all of it, and go on after a difference as far as that makes sense.

        :param check_first: compare the stored bytes with the manifest before any of them can run on the server.
        :raises BackupError: something failed that is the environment's fault.
        """
        if (not check_first or self._check_archives()) and self._load():
            self._progress.say(f"{self._manifest.name}: comparing what was restored")
            self._compare()
            self._compare_migrations()
            for query in queries:
                self._ask(query)

    def server_version(self, engine: Engine) -> str:
        version = str(self._restoration.fetch_value(engine.version_query))
        return version.partition(" ")[0]  # some add how they were built

    def _check_archives(self) -> bool:
        try:
            self._checked = check_archives(self._storage, self._manifest, self._progress)
        except VerificationFailed as error:
            self.differences.append(f"{error} Nothing of it was run. {self._if_damaged}".rstrip())
            return False
        return True

    def _load(self) -> bool:
        manifest = self._manifest
        try:
            with byte_progress(self._progress, f"{manifest.name}: drilling", manifest.size) as advance:
                load_archives(self._restoration, self._storage, manifest, self._keys, advance, self._checked)
        except (VerificationFailed, RestoreFailed, EncryptionError) as error:
            self._blame(error)
            return False
        return True

    def _blame(self, error: BackupError) -> None:
        """Keep why it cannot be loaded, if that is the backup's fault.

        Damage comes first: of an archive that was replaced, a server refuses the first statement, and one whose head is
        damaged looks to gpg like one that was made with another key.
        """
        if self._checked is None and not self._check_archives():
            return
        if isinstance(error, EncryptionError):
            raise error  # the stored bytes are good: the key is missing or another one
        self._judge(error)

    def _judge(self, error: BackupError) -> None:
        """Keep *error* as a difference.

        :raises BackupError: it is the environment's fault.
        """
        if fault.is_environment_fault(error):
            raise error
        self._require_answer(error)
        self.differences.append(str(error))

    def _compare(self) -> None:
        compared = [table for table in self._manifest.tables if table.exact]
        try:
            found = self._restoration.check(self._manifest)
        except (VerificationFailed, RestoreFailed) as error:
            found = error.found if isinstance(error, TablesDiffer) else {}
            self._judge(error)
        self.evidence = list_evidence(self._manifest, found) if found else ()
        self.tables = len(compared)
        self.rows = sum(table.rows for table in compared)
        if not compared:
            self.differences.append(
                "It was restored, and nothing could be compared: the manifest counts the rows of no table exactly, "
                "since all were written to while they were dumped."
            )

    def _compare_migrations(self) -> None:
        try:
            self.differences += migration_differences(self._restoration.fetch_value, self._manifest)
        except VerificationFailed as error:
            self._judge(error)

    def _ask(self, query: str) -> None:
        try:
            require_true(self._restoration, query)
        except VerificationFailed as error:
            self._require_answer(error)
            self.differences.append(str(error))
        else:
            self.queries += 1

    def _require_answer(self, error: BackupError) -> None:
        """
        :raises BackupError: the scratch does not answer the simplest query: its server failed, not the backup.
        """
        try:
            self._restoration.fetch_value("SELECT 1")
        except BackupError:
            raise error from None
