"""Made-up backups and proofs, and what ``backup_status`` says about them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django_cfg.backup.manifest import Manifest, Proof, proof_key
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site
from tests.support.manifests import archive_of, make_manifest


def put(site: Site, started_at: datetime, *, size: int = 1000, **values: Any) -> Manifest:
    """A made-up backup of *size* bytes."""
    made = make_manifest(
        f"default_{started_at:%Y%m%d_%H%M%S}_test", started_at=started_at, finished_at=started_at, **values
    )
    made = made.model_copy(update={"archive": made.archive.model_copy(update={"size": size})})
    site.backups.mkdir(exist_ok=True)
    with current_project().storage.publish(made.archive_key) as sink:
        sink.write(archive_of(made).ljust(size, b".")[:size])
    current_project().storage.write(made.key, made.to_json())
    return made


def prove(site: Site, manifest: Manifest, *, succeeded: bool) -> Proof:
    proof = Proof(
        name=manifest.name,
        archive_sha256=manifest.archive.sha256,
        at=manifest.started_at + timedelta(minutes=10),
        duration=1,
        succeeded=succeeded,
        differences=() if succeeded else ("book has 199 rows, not 200",),
    )
    current_project().storage.write(proof_key(manifest.name, proof.at), proof.to_json())
    return proof


def status(site: Site) -> tuple[int, dict[str, Any]]:
    answer = site.call("backup_status", json=True)
    (source,) = answer.json["sources"]
    assert answer.json["healthy"] == source["healthy"] == (answer.code == 0)
    return answer.code, source
