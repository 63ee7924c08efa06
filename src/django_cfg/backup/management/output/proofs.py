"""Proofs as a person reads them."""

from __future__ import annotations

from datetime import tzinfo

from django_cfg.backup.formatting import counted, format_time, seconds_taken
from django_cfg.backup.manifest import Proof
from django_cfg.backup.services.restore.restore import describe_skipped


def describe_success(proof: Proof) -> str:
    """What a drill that succeeded has done."""
    queries = f", {counted(proof.queries, 'query', 'queries')} true" if proof.queries else ""
    return (
        f"Restored and compared: {counted(proof.tables, 'table')}, {counted(proof.rows, 'row')}{queries}. "
        f"Expected recovery time: {format_duration(proof)}."
    )


def format_proof(proof: Proof | None, zone: tzinfo) -> str:
    """For the page of one backup."""
    if proof is None:
        return "never; `backup_verify NAME --drill` proves it"
    when = f"{format_time(proof.at, zone)}, on {proof.host or 'an unknown host'}"
    if not proof.succeeded:
        return f"THE DRILL FAILED, {when}: {'; '.join(proof.differences) or 'it could not be restored'}"
    server = f" (server {proof.server_version}, {proof.tool} {proof.tool_version})" if proof.server_version else ""
    return f"{when}{server}. {describe_success(proof)} {describe_skipped(proof.skipped)}".rstrip()


def format_proof_cell(proof: Proof | None, zone: tzinfo) -> str:
    """For a column."""
    if proof is None:
        return "never"
    if not proof.succeeded:
        return f"{format_time(proof.at, zone)} FAILED"
    left_out = f", {counted(len(proof.skipped), 'object')} left out" if proof.skipped else ""
    return f"{format_time(proof.at, zone)}, {format_duration(proof)}{left_out}"


def format_duration(proof: Proof) -> str:
    """How long the drill took, which is how long a restore is expected to take."""
    total = round(proof.duration)
    if total < 60:
        return seconds_taken(proof.duration)
    hours, minutes = divmod(total // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {total % 60} s"
