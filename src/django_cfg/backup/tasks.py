"""What RQ's workers call. Arguments are ints and strings only; what they mean is in the history."""

from __future__ import annotations

from django_cfg.backup.process.time_limit import queue_limit


def run_backup(run: int, database: str, claimed: str) -> str:
    """Make the backup that a tick has claimed; the name of the backup, empty if the claim is no longer waiting."""
    from django_cfg.backup.services.schedule.backup_job import run_backup_job

    with queue_limit(f"scheduled backup of {database!r}"):
        return run_backup_job(run, database, claimed)


def run_verification(run: int, database: str, claimed: str) -> str:
    """Verify the newest backup, as a tick has claimed; the name of the backup, empty if the claim is no longer waiting.

    :raises BackupError: it is not proved; the signal has been sent.
    """
    from django_cfg.backup.services.schedule.verification_job import run_claimed_verification

    with queue_limit(f"scheduled verification of {database!r}"):
        verified = run_claimed_verification(run, database, claimed)
    return verified.name if verified else ""


def run_copies() -> int:
    """Copy what is missing in a place; the number of copies.

    :raises BackupError: some were not made; the signal has been sent, and the next tick tries again.
    """
    from django_cfg.backup.errors import BackupError
    from django_cfg.backup.services.copies.copy import copy_missing
    from django_cfg.backup.services.project.project import current_project

    with queue_limit("copies of backups"):
        outcomes = copy_missing(current_project())
    if failed := [f"{each.name} to {each.place}: {each.error}" for each in outcomes if each.error]:
        raise BackupError(*failed)
    return len(outcomes)


def run_job(text: str, queue: str) -> str:
    """Do a job that a person has asked for in the admin; how it ended, in a word, empty if it was done before.

    :param text: the job as JSON.
    :param queue: where its state is kept.
    """
    from django_cfg.backup.services.jobs.boards import QueueBoard
    from django_cfg.backup.services.jobs.job import Job
    from django_cfg.backup.services.jobs.perform import perform_once

    job = Job.model_validate_json(text)
    ended = perform_once(job, QueueBoard(queue, job.id), f"on the queue {queue!r}", queue)
    return ended.phase if ended else ""


def run_tick() -> int:
    """A tick; the number of backups that it has put on their queues.

    :raises BackupError: a part of it failed; the signal has been sent.
    """
    from django_cfg.backup.services.jobs.perform import perform_waiting
    from django_cfg.backup.services.schedule.tick import tick

    ticked = tick()
    perform_waiting()
    ticked.raise_problems()
    return len(ticked.enqueued)
