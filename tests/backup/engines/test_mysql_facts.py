"""What MySQL's engine reads of manifests and archives, without a server."""

from __future__ import annotations

import io

import pytest

from django_cfg.backup.engines.mysql.engine import _scan
from django_cfg.backup.engines.mysql.missing_database import format_charset
from django_cfg.backup.errors import VerificationFailed
from tests.support.manifests import make_manifest

MANIFEST = make_manifest()


@pytest.mark.parametrize(
    ("charset", "collation", "expected"),
    [
        ("latin1", "latin1_german2_ci", "CHARACTER SET latin1 COLLATE latin1_german2_ci"),
        ("", "", "CHARACTER SET utf8mb4"),
        ("latin1", "x; DROP DATABASE shop", "CHARACTER SET utf8mb4"),
        ("latin1 /*", "latin1_german2_ci", "CHARACTER SET utf8mb4"),
    ],
)
def test_a_character_set_of_a_manifest_is_a_name_or_none(charset: str, collation: str, expected: str) -> None:
    """A statement holds it, and takes no parameters there."""
    facts = MANIFEST.engine.model_copy(update={"charset": charset, "collation": collation})
    assert format_charset(facts) == expected


@pytest.mark.parametrize("dump", [b"", b"CREATE TABLE `book` (id int);\nINSERT INTO `book` VALUES (1);\n"])
def test_a_dump_without_its_end_mark_is_not_complete(dump: bytes) -> None:
    with pytest.raises(VerificationFailed, match="is not a complete dump: its end mark is missing"):
        _scan(io.BytesIO(dump), MANIFEST)
