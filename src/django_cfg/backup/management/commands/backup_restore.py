"""manage.py backup_restore"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from typing import Any

from django_cfg.backup.engines.base import Switched
from django_cfg.backup.errors import megabytes
from django_cfg.backup.management.command import BackupCommand, add_name, add_yes
from django_cfg.backup.management.tables import local
from django_cfg.backup.services.restore import RestorePlan, carry_out, plan_restore, resume_restore


class Command(BackupCommand):
    help = "Bring a backup back. The old data is set aside, and until the last step nothing is touched."

    def arguments(self, parser: ArgumentParser) -> None:
        add_name(parser, optional=True)
        add_yes(parser)
        parser.add_argument(
            "--to", metavar="ALIAS", help="The database to replace; needed for a backup of another source."
        )

        parser.add_argument(
            "--resume",
            action="store_true",
            help="Finish a restore that was interrupted while it switched to the new data (MySQL and MariaDB).",
        )
        parser.add_argument(
            "--discard-old", action="store_true", help="Destroy the old data as soon as the new one is in its place."
        )

    def run(self, *, name: str, database: str | None, to: str | None, yes: bool, **options: Any) -> Any:
        if options["resume"]:
            return self._resume(to or database or "default")
        self._discards = options["discard_old"]
        plan = plan_restore(name, database=database, to=to)
        self.warn_of_damage(plan.catalog)
        self.stderr.write(_preview(plan), self.plain)
        self.ask(f"Replace the database {plan.target!r} with it?", yes=yes)
        carry_out(plan, self.progress, lambda switched: self._tell(plan, switched))
        return None

    def _resume(self, alias: str) -> Any:
        switched = resume_restore(alias)
        self.show(f"The interrupted restore of {alias} is finished.")
        if switched.old_data:
            self.show(f"Its old data is kept in {switched.old_data}; delete it when you no longer need it.")
        return {"resumed": alias, "old_data": switched.old_data}

    def _tell(self, plan: RestorePlan, switched: Switched) -> None:
        manifest = plan.manifest
        self.show(f"{plan.target} is now as in {manifest.name}: {len(manifest.tables)} tables, {manifest.rows:,} rows.")
        if switched.old_data and self._discards:
            plan.engine.discard_old(switched.old_data)
            switched = replace(switched, old_data=None)
        if switched.old_data:
            self.show(f"Its old data is kept in {switched.old_data}; delete it when you no longer need it.")
        for advice in filter(None, (switched.advice, plan.migrations)):
            self.warn(advice)
        if self.as_json:
            self.print_document({"restored": manifest.name, "to": plan.target, "old_data": switched.old_data})


def _preview(plan: RestorePlan) -> str:
    manifest = plan.manifest
    unpacked = megabytes(manifest.archive.raw_size)
    lines = [
        f"Backup   {manifest.name} of {manifest.source}, {local(manifest.started_at, plan.project.zone)}",
        f"         {len(manifest.tables)} tables, {manifest.rows:,} rows, {unpacked} unpacked",
        f"Target   the {plan.engine.name} database {plan.target!r} ({plan.engine.place})",
    ]
    if plan.crosses_sources:
        lines.append("Careful  it is a backup of another source")
    if plan.migrations:
        lines.append(f"Code     {plan.migrations}")
    return "\n".join(lines)
