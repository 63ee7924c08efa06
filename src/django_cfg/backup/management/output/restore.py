"""What backup_restore takes and shows."""

from __future__ import annotations

from argparse import ArgumentParser

from django_cfg.backup.engines.base import Level
from django_cfg.backup.formatting import format_time, megabytes, printable, seconds_taken
from django_cfg.backup.management.command import (
    add_jobs_option,
    add_skip_options,
    add_trust_option,
    add_unsigned_option,
)
from django_cfg.backup.services.restore.restore import RestorePlan, RestoreReport


def add_restore_options(parser: ArgumentParser) -> None:
    parser.add_argument("--to", metavar="ALIAS", help="The database to replace; needed for a backup of another source.")
    parser.add_argument(
        "--tables",
        metavar="TABLE",
        nargs="+",
        default=[],
        help="Only these tables (shell patterns), into the database as it is. After NAME.",
    )
    parser.add_argument("--discard-old", action="store_true", help="Do not keep the old data.")
    parser.add_argument("--disconnect", action="store_true", help="End the connections that stand in the way.")
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="Restore into the database itself, without a scratch database, where the engine supports it.",
    )
    add_skip_options(parser)
    add_jobs_option(parser)
    add_trust_option(parser)
    add_unsigned_option(parser)
    parser.add_argument(
        "--sanitize",
        metavar="PATH",
        help="Change the data before it replaces anything: the dotted path of a callable, or a .sql file; default: "
        "BackupConfig.sanitizers for a backup of another source.",
    )
    parser.add_argument(
        "--unsanitized",
        action="store_true",
        help="Restore the data as it is, production data in another environment too.",
    )
    parser.add_argument(
        "--undo",
        metavar="OLD_DATA",
        help="Bring back the old data that a restore has kept, by its name (SQLite, PostgreSQL); nothing is lost.",
    )
    parser.add_argument(
        "--resume", action="store_true", help="Finish a restore that was killed while it switched (MySQL, MariaDB)."
    )


def format_preview(plan: RestorePlan) -> str:
    """All that is known before, as it is shown before the question."""
    manifest = plan.manifest
    unpacked = megabytes(manifest.raw_size)
    lines = [
        f"Backup   {manifest.name} of {manifest.source}, {format_time(manifest.started_at, plan.project.zone)}",
        f"         {len(manifest.tables)} tables, {manifest.rows:,} rows, {unpacked} unpacked",
        *([f"Made     {manifest.note}"] if manifest.trigger == "before-migrate" else []),
        f"Archive  {_archive(plan)}",
        f"Target   the {plan.engine.name} database {plan.target!r} ({plan.engine.location})",
        *(
            f"{'Careful' if finding.level is not Level.OK else '':9}{finding.text}"
            for finding in plan.preflight.findings
        ),
        f"Old data {_old_data(plan)}",
    ]
    if plan.crosses_sources:
        lines.append("Careful  it is a backup of another source")
    if plan.left_out:
        lines.append(f"Careful  {plan.left_out}")
    if plan.sanitizer:
        lines.append(f"Sanitise with {plan.sanitizer.name}, in the scratch database, before anything is replaced")
    if plan.migrations:
        lines.append(f"Code     {plan.migrations}")
    return "\n".join(map(printable, lines))


def confirmation_question(plan: RestorePlan) -> str:
    if plan.options.tables:
        return f"Replace these tables of the database {plan.target!r} with those of the backup?"
    return f"Replace the database {plan.target!r} with it?"


def describe_result(plan: RestorePlan, report: RestoreReport) -> str:
    manifest = plan.manifest
    took = f"It took {seconds_taken(report.seconds or 0)}."
    if plan.options.tables:
        return f"{', '.join(plan.options.tables)} of {plan.target} are now as in {manifest.name}. {took}"
    if report.sanitized_by:
        return f"{plan.target} is now as in {manifest.name}, sanitised by {report.sanitized_by}. {took}"
    return f"{plan.target} is now as in {manifest.name}: {len(manifest.tables)} tables, {manifest.rows:,} rows. {took}"


def _archive(plan: RestorePlan) -> str:
    size = megabytes(plan.manifest.size)
    if plan.preflight.uses_staging:
        if plan.trust_storage or not plan.engine.runs_archives:
            return f"{size}, all there; checked while it is loaded, before anything is replaced"
        return f"{size}, all there; checked before it is loaded"
    return f"{size}, read completely, its SHA-256 as in the manifest"


def _old_data(plan: RestorePlan) -> str:
    if not plan.preflight.target_exists:
        return "there is none: the database is new"
    if plan.backs_up_first:
        return "is backed up first, since it is replaced in place"
    if plan.preflight.keeps_old_data:
        return "is kept" if not plan.options.discard_old else "is not kept (--discard-old)"
    return "is not kept: there is none, or --discard-old was given"
