"""A backup whose archive and manifest were both changed, so that they fit each other."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable

from django_cfg.backup.manifest import Manifest
from tests.support.django_project import Site


def forge(site: Site, manifest: Manifest, change: Callable[[bytes], bytes]) -> None:
    """Let the archive, compressed by gzip, hold what *change* makes of its dump, and let the manifest say so."""
    path = site.backups / manifest.archive_key
    genuine = gzip.decompress(path.read_bytes())
    plain = change(genuine)
    assert plain != genuine
    stored = gzip.compress(plain)
    path.write_bytes(stored)
    document = json.loads((site.backups / manifest.key).read_bytes())
    document["archive"] |= {
        "size": len(stored),
        "sha256": hashlib.sha256(stored).hexdigest(),
        "raw_size": len(plain),
        "raw_sha256": hashlib.sha256(plain).hexdigest(),
    }
    (site.backups / manifest.key).write_text(json.dumps(document))
