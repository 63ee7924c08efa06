"""What a tick has done, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_cfg.backup.errors import megabytes
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.tick import Ticked


def lines_of(ticked: Ticked) -> Iterator[str]:
    for alias, slot in ticked.claimed.items():
        yield f"{alias}: claimed the slot of {slot:%Y-%m-%d %H:%M} UTC"
    for alias in ticked.enqueued:
        yield f"{alias}: put on its queue"
    for result in ticked.results:
        if isinstance(result, Manifest):
            yield f"{result.name}: {megabytes(result.archive.size)} stored"


def document_of(ticked: Ticked) -> dict[str, Any]:
    return {
        "claimed": {alias: slot.isoformat() for alias, slot in ticked.claimed.items()},
        "enqueued": ticked.enqueued,
        "results": [
            result.model_dump(mode="json", by_alias=True)
            if isinstance(result, Manifest)
            else {"database": result.database, "error": str(result.error)}
            for result in ticked.results
        ],
        "problems": [str(problem) for problem in ticked.problems],
    }
