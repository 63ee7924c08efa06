"""A history of every kind for the pages of the admin: made in a process of the project, by ``manage.py shell``."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from django.conf import settings

from django_cfg.backup import create_backup, drill_backup
from django_cfg.backup.models import Run
from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.job import Job, JobPhase, JobState
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.retention.pins import pin_backup

FILL = "from tests.support.admin_history import fill; fill()"


def fill() -> None:
    """Make backups with a drill and a pin, a damaged one, runs of every state, and a job that runs.

    Their names are written to names.json.
    """
    with closing(sqlite3.connect(settings.DATABASES["stock_of_the_shop"]["NAME"])) as connection:
        connection.execute("CREATE TABLE shelf (id integer PRIMARY KEY)")
    old = create_backup("default", note="n" * 80)
    pinned = create_backup("default")
    new = create_backup("default", note="before the sale of the long shelf")
    create_backup("stock_of_the_shop")
    drill_backup(new.name)
    project = current_project()
    pin_backup(project, pinned, "the audit")
    project.storage.write("damaged_one.json", b"{}")
    running, job = make_runs(), make_job()
    made = Run.objects.filter(state="succeeded").latest("pk").pk
    names = {"old": old.name, "new": new.name, "run": made, "running": running.pk, "job": job.id}
    Path("names.json").write_text(json.dumps(names))


def make_runs() -> Run:
    """Return the one that is under way."""
    source, now = current_project().source("default").model_dump(), clock.now()
    ended = {"started_at": now, "finished_at": now}
    why = "Not enough space in backups: 90.0 MB needed, 12.0 MB free. Make room, or lower the retention. "
    Run.objects.create(**source, state="failed", message=3 * why, **ended)
    Run.objects.create(**source, state="missed", slot=now)
    Run.objects.create(**source, state="cancelled", **ended)
    Run.objects.create(**source, state="queued", queued_at=now)
    return Run.objects.create(
        **source,
        kind="restore",
        started_at=now - timedelta(seconds=40),
        heartbeat_at=now,
        stage="loading the archive into the scratch",
        bytes_done=12_345_678,
        bytes_total=99_000_000,
        started_by="ada",
    )


def make_job() -> Job:
    """Return a job that seems to run for the next two hours."""
    job, now = Job(action="backup", by="ada"), clock.now()
    state = JobState(
        job=job,
        phase=JobPhase.RUNNING,
        where="in a process of its own",
        stage="dumping default",
        done=12_000_000,
        total=99_000_000,
        rate=1_000_000,
        lines=("waiting for the lock", "dumping default"),
        seen_at=now + timedelta(hours=2),
    )
    FileBoard(job.id).write(state)
    return job
