"""manage.py backup_restore"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.engines.base import RestoreOptions, SwitchResult
from django_cfg.backup.management.command import BackupCommand, add_name, add_yes
from django_cfg.backup.management.output import restore
from django_cfg.backup.management.unlock_options import add_unlock, unlock
from django_cfg.backup.services.restore.restore import Restored, RestorePlan, carry_out, plan_restore
from django_cfg.backup.services.restore.resume import resume_restore


class Command(BackupCommand):
    help = "Bring a backup back. Nothing is touched until the last step, and the old data is kept, unless told before."

    def arguments(self, parser: ArgumentParser) -> None:
        add_name(parser, optional=True)
        add_yes(parser)
        add_unlock(parser)
        restore.add_options(parser)

    def run(self, *, name: str, database: str | None, to: str | None, yes: bool, resume: bool, **options: Any) -> Any:
        if resume:
            return self._resume(to or database)
        chosen = RestoreOptions(
            tuple(options["tables"]), options["in_place"], options["disconnect"], options["discard_old"]
        )
        opened_by = unlock(options["private_key"], options["passphrase_fd"])
        plan = plan_restore(name, database=database, to=to, options=chosen, unlock=opened_by, progress=self.progress)
        self.warn_of_damage(plan.catalog)
        self.stderr.write(restore.preview(plan), self.plain)
        self.ask(restore.question(plan), yes=yes)
        return carry_out(plan, self.progress, lambda restored: self._tell(plan, restored))

    def _tell(self, plan: RestorePlan, restored: Restored) -> None:
        self.show(restore.done(plan, restored))
        self._tell_of_old_data(restored.switched)
        if plan.migrations:
            self.warn(plan.migrations)
        if self.as_json:
            self.print_document(
                {
                    "restored": plan.manifest.name,
                    "to": plan.target,
                    "old_data": restored.switched.old_data,
                    "seconds": round(restored.seconds, 3),
                }
            )

    def _tell_of_old_data(self, switched: SwitchResult) -> None:
        if switched.old_data:
            self.show(f"Its old data is kept in {switched.old_data}; delete it when you no longer need it.")
        if switched.advice:
            self.warn(switched.advice)

    def _resume(self, alias: str | None) -> Any:
        target, switched = resume_restore(alias)
        self.show(f"The interrupted restore of {target} is finished.")
        self._tell_of_old_data(switched)
        return {"restored": None, "to": target, "old_data": switched.old_data}
