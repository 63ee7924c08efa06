"""manage.py backup_adopt"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_cfg.backup.formatting import counted, format_time, megabytes
from django_cfg.backup.management.command import BackupCommand, add_yes_option
from django_cfg.backup.management.exit_codes import failing
from django_cfg.backup.management.output.backups import TIME_FROM
from django_cfg.backup.management.unlock_options import add_unlock_options, read_decryption_key
from django_cfg.backup.services.adoption.adopt import AdoptionPlan, AdoptionResult, adopt, plan_adoption


class Command(BackupCommand):
    help = (
        "Make a backup of an archive that another program made, or whose manifest is lost: it is examined, restored "
        "into a scratch database to count its rows, copied into the storage, and gets a manifest."
    )
    exit_codes = failing("it was not adopted, or the answer was no")

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "origin", metavar="FILE|KEY", help="A file, or an object of the storage without a manifest."
        )
        parser.add_argument("--database", metavar="ALIAS", required=True, help="The database that it is a dump of.")
        parser.add_argument(
            "--taken-at",
            metavar="TIME",
            help="When it was made, in ISO 8601, in TIME_ZONE unless it has an offset; default: as its name says, else "
            "the age of the file.",
        )
        add_unlock_options(parser)
        add_yes_option(parser)

    def run(self, *, origin: str, database: str, taken_at: str | None, yes: bool, **options: Any) -> Any:
        key = read_decryption_key(options["private_key"], options["passphrase_fd"])
        planned = plan_adoption(origin, database, taken_at=taken_at, decryption_key=key, progress=self.progress)
        if isinstance(planned, AdoptionResult):
            self.show(f"{origin} is the archive of {planned.manifest.name} already: nothing was done.")
            return planned
        self.show(_describe(planned))
        question = (
            f"Restoring it into a scratch database next to {planned.target!r} runs the SQL that it holds: adopt only "
            "what you trust. Adopt it?"
        )
        self.ask(question, yes=yes)
        result = adopt(planned, self.progress)
        for warning in result.warnings:
            self.warn(warning)
        manifest = result.manifest
        tables = counted(len(manifest.tables), "table")
        self.show(f"{manifest.name}: adopted, with {tables} and {counted(manifest.rows, 'row')}.")
        if result.pinned:
            self.show(
                "It is pinned, since the retention would delete it at the next backup: "
                f"`backup_pin {manifest.name} --unpin` leaves it to the retention."
            )
        return result


def _describe(planned: AdoptionPlan) -> str:
    engine, form, zone = planned.examined.dump.engine, planned.examined.form, planned.project.zone
    wrapped = "" if form.compression == "none" else f", {form.compression}"
    wrapped += "" if form.encryption.method == "none" else ", encrypted"
    place = "stays where it is, and" if planned.key else "is copied into the storage, and"
    return (
        f"{planned.origin.name}: {megabytes(planned.examined.stored.size)}{wrapped}, complete; {engine.vendor} "
        f"{engine.server_version}, by {engine.tool} {engine.tool_version}; made {format_time(planned.taken.at, zone)}, "
        f"{TIME_FROM[planned.taken.known_from]} says. It {place} becomes the backup {planned.name}."
    )
