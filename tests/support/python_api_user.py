"""Code as users of the Python API write it, which is only type-checked: every function, and what its result gives."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import assert_type

from django_cfg.backup import (
    AdoptionResult,
    BackupError,
    BackupNotFound,
    CopyOutcome,
    DecryptionKey,
    Finding,
    Level,
    Manifest,
    Progress,
    Proof,
    PruneReport,
    RestoreReport,
    SomeFailed,
    StatusReport,
    adopt_backup,
    backup_status,
    check_backups,
    copy_backup,
    create_backup,
    create_backups,
    delete_backup,
    download_backup,
    drill_backup,
    get_backup,
    list_backups,
    pin_backup,
    prune_backups,
    restore_backup,
    unpin_backup,
    verify_backup,
)


class Printed:
    """Is a Progress without being derived from it."""

    def say(self, text: str) -> None:
        print(text)

    def begin(self, label: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def end(self) -> None: ...


def before_a_release(version: str) -> str:
    progress: Progress = Printed()
    backup = create_backup(database="default", note=f"before {version}", progress=progress)
    assert_type(backup, Manifest)
    assert_type(drill_backup(backup.name, database="default", jobs=2, progress=Printed()), Proof)
    assert_type(pin_backup(backup.name, why=version), Manifest)
    return backup.name


def every_night(folder: Path) -> tuple[str, ...]:
    try:
        made = create_backups(["default", "shop"], note="nightly")
    except SomeFailed as error:
        for alias, reason in error.errors.items():
            print(alias, reason.exit_code, reason.backup)
        return error.made
    assert_type(made, list[Manifest])
    assert_type(verify_backup(made[0].name, decryption_key=DecryptionKey(folder / "key.asc", "secret")), Manifest)
    assert_type(copy_backup("latest", "attic", database="shop"), list[CopyOutcome])
    assert_type(adopt_backup(str(folder / "older.sql.gz"), "shop", taken_at="2026-11-20"), AdoptionResult)
    assert_type(prune_backups(dry_run=True), PruneReport)
    assert_type(download_backup("latest", folder, database="shop"), Path)
    return tuple(backup.name for backup in made)


def clean_up(older_than: timedelta) -> list[str]:
    until = datetime.now().astimezone() - older_than
    names = [unpin_backup(backup.name).name for backup in list_backups(database="shop", until=until)]
    return [assert_type(delete_backup(name, force=False), str) for name in names]


def after_an_accident(at: datetime) -> str | None:
    try:
        report = restore_backup(at=at, database="default", to="default", tables=["book"])
    except BackupNotFound as error:
        print(error, error.database, error.backup)
        report = restore_backup(get_backup(database="default").name)
    except BackupError as error:
        database: str | None = error.database
        raise SystemExit(f"{database}: {error}") from error
    assert_type(report, RestoreReport)
    return report.old_data


def is_healthy() -> bool:
    findings, status = check_backups(), backup_status()
    assert_type(findings, list[Finding])
    assert_type(status, StatusReport)
    return status.healthy and all(finding.level is Level.OK for finding in findings)
