"""Half a year of backups for the pages of the admin: real archives, dated back, with what went wrong in between."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from django_cfg.backup import create_backup, drill_backup, prune_backups
from django_cfg.backup.manifest import Manifest, Proof, proof_key
from django_cfg.backup.models import Run
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.storage.base import Storage

DAYS = 180
STEPS = 6  # sizes of the shop


class Command(BaseCommand):
    help = __doc__

    def handle(self, **options: object) -> None:
        random.seed(7)
        now = datetime.now(UTC)
        made: list[Manifest] = []
        for step in range(1, STEPS + 1):
            call_command("flush", interactive=False, verbosity=0)
            call_command("fill_bookshop", books=400 * step, verbosity=0, stdout=self.stderr)
            made.append(create_backup("default"))
        self._fill_stock()
        storage = current_project().storage
        for day in range(DAYS, 0, -1):
            at = (now - timedelta(days=day)).replace(hour=1, minute=0, second=0, microsecond=0)
            self._make_day(storage, made[STEPS * (DAYS - day) // DAYS], at, day)
        for manifest in made[:-1]:
            storage.delete(manifest.key)
            storage.delete(manifest.archive_key)
        drill_backup(made[-1].name)
        prune_backups()
        drill_backup(create_backup("stock", note="the stock of the shop in Galway").name)

    def _fill_stock(self) -> None:
        with closing(sqlite3.connect(settings.DATABASES["stock"]["NAME"])) as connection, connection:
            connection.execute(
                "CREATE TABLE shelf (id integer PRIMARY KEY, place text NOT NULL, books integer NOT NULL)"
            )
            rows = [(f"shelf {number}", random.randrange(80)) for number in range(500)]
            connection.executemany("INSERT INTO shelf (place, books) VALUES (?, ?)", rows)

    def _make_day(self, storage: Storage, like: Manifest, at: datetime, day: int) -> None:
        run = Run(**like.source.model_dump(), trigger="scheduled", slot=at, started_at=at)
        if day in (33, 34, 120):
            run.state, run.message = Run.State.FAILED, "Not enough space in backups: 90.0 MB needed, 12.0 MB free."
        elif day in (77, 78):
            run.state, run.started_at, run.message = (
                Run.State.MISSED,
                None,
                "No ticker or no worker ran when it was due.",
            )
        else:
            manifest = self._copy(storage, like, at)
            run.state, run.name, run.size = Run.State.SUCCEEDED, manifest.name, manifest.archive.size
            run.finished_at = manifest.finished_at
            if at.weekday() == 6 and day < 120:
                self._prove(storage, manifest)
        run.save()

    def _copy(self, storage: Storage, like: Manifest, at: datetime) -> Manifest:
        name = f"default_{at:%Y%m%d_%H%M%S}_{like.source.env}"
        key = like.archive.key.replace(like.name, name)
        manifest = like.model_copy(
            update={
                "name": name,
                "trigger": "scheduled",
                "slot": at,
                "started_at": at,
                "finished_at": at + timedelta(seconds=random.uniform(3, 6)),
                "archive": like.archive.model_copy(update={"key": key}),
            }
        )
        storage.write(manifest.archive_key, storage.read(like.archive_key))
        storage.write(manifest.key, manifest.to_json())
        return manifest

    def _prove(self, storage: Storage, manifest: Manifest) -> None:
        at = manifest.started_at + timedelta(hours=2)
        proof = Proof(
            name=manifest.name,
            archive_sha256=manifest.archive.sha256,
            at=at,
            duration=8.0,
            succeeded=True,
            tables=len(manifest.tables),
            rows=manifest.rows,
            host=manifest.host,
        )
        storage.write(proof_key(manifest.name, at), proof.to_json())
