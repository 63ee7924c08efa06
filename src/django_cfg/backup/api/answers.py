"""Answers as JSON: documents as the commands print them, errors with the status of HTTP that fits."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from django.http import HttpResponse
from pydantic_core import to_jsonable_python

from django_cfg.backup import errors
from django_cfg.backup.api.refusals import Refusal
from django_cfg.backup.errors import BackupError
from django_cfg.backup.process.redaction import redact

# The first class that an error is of decides.
_STATUSES: tuple[tuple[type[BackupError], int], ...] = (
    (errors.UsageError, 400),
    (errors.BackupNotFound, 404),
    (errors.AlreadyRunning, 409),
    (errors.RestoreUnderWay, 409),
    (errors.ClockSkew, 409),
    (errors.ManifestError, 422),
    (errors.VerificationFailed, 422),
    (errors.EncryptionError, 422),
    (errors.RestoreRefused, 422),
    (errors.UnsupportedEngine, 422),
    (errors.StorageError, 503),
    (errors.DatabaseUnavailable, 503),
    (errors.HistoryUnavailable, 503),
    (errors.QueueUnavailable, 503),
)


def status_of(error: BackupError) -> int:
    """Return the status of HTTP for *error*; 500 where none fits better."""
    if isinstance(error, Refusal):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def answer_document(document: Any, status: int = 200) -> HttpResponse:
    """Answer with records, or lists and dicts of them, as ``--json`` prints them."""
    text = json.dumps(to_jsonable_python(document, by_alias=True), indent=2)
    return HttpResponse(f"{text}\n", status=status, content_type="application/json")


def answer_error(error: BackupError, secrets: Collection[str]) -> HttpResponse:
    """Answer with the message of *error*, without *secrets*, and the exit code of a command that meets it."""
    answer = answer_document({"error": redact(str(error), secrets), "exit_code": error.exit_code}, status_of(error))
    for name, value in error.headers.items() if isinstance(error, Refusal) else ():
        answer[name] = value
    return answer
