"""The manifest: the description of a backup, readable for years."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from django_cfg.backup.errors import ManifestError
from django_cfg.backup.manifest import Encryption, Manifest, Proof, Table, proof_key, proof_time
from tests.support.manifests import STARTED, make_manifest

FULL = make_manifest(
    "2026/shop",
    slot=STARTED,
    partial=True,
    trigger="scheduled",
    compression="xz",
    encryption=Encryption(method="public-key", recipients=("A" * 40,)),
    tables=(Table(name="book", rows=200, exact=True), Table(name="log", rows=5, exact=False)),
    excluded=("audit",),
    migrations={"shop": ("0001_initial", "0003_price")},
    packages={"django": "5.2"},
    note="before the sale, naïvely",
)


def changed(**values: Any) -> bytes:
    """FULL's JSON with *values* in the place of its own; None takes a key out."""
    document = {**json.loads(FULL.to_json()), **values}
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


@pytest.mark.parametrize("manifest", [make_manifest(), FULL], ids=["short", "full"])
def test_a_round_trip_keeps_every_value(manifest: Manifest) -> None:
    """Every value, with its type."""
    assert Manifest.from_json(manifest.to_json(), manifest.key) == manifest


def test_the_json_is_readable_for_people() -> None:
    """Indented, one value a line, with the names of the documented format."""
    text = FULL.to_json().decode()
    assert text.startswith('{\n  "schema": 1,\n  "name": "2026/shop",\n')
    assert text.endswith("}\n")
    assert set(json.loads(text)) == {
        *("schema", "name", "source", "host", "trigger", "slot", "partial", "started_at", "finished_at", "archive"),
        "row_archives",
        *("compression", "encryption", "engine", "tables", "excluded", "migrations", "packages", "note"),
        *("restore_hint", "adopted"),
    }


@pytest.mark.parametrize("length", range(0, len(FULL.to_json()) - 1, 50))
def test_a_truncated_manifest_is_refused(length: int) -> None:
    """Wherever it is truncated; the message names the object and the documentation."""
    with pytest.raises(
        ManifestError, match=r"2026/shop\.json is not complete JSON.*cut short.*docs/restore-by-hand\.md"
    ):
        Manifest.from_json(FULL.to_json()[:length], FULL.key)


@pytest.mark.parametrize("data", [bytes(700), b"\xff\xfe\x00", b"<html>", b"\x1f\x8b\x08"], ids=repr)
def test_other_bytes_are_refused(data: bytes) -> None:
    """Zeros after a power failure, a proxy's error page."""
    with pytest.raises(ManifestError, match=r"2026/shop\.json"):
        Manifest.from_json(data, FULL.key)


@pytest.mark.parametrize("document", ["[]", "null", "1", '"text"', "{}", '{"schema": 1}', "[1, 2]"])
def test_json_that_is_no_manifest_is_refused(document: str) -> None:
    with pytest.raises(ManifestError, match=r"2026/shop\.json is not one of ours"):
        Manifest.from_json(document.encode(), FULL.key)


@pytest.mark.parametrize("schema", [2, 17])
def test_a_newer_schema_asks_for_a_newer_version(schema: int) -> None:
    """Also if the rest of it has an unknown structure."""
    for data in (changed(schema=schema), json.dumps({"schema": schema, "quite": "different"}).encode()):
        with pytest.raises(ManifestError, match=rf"has schema {schema}, .* reads up to 1: upgrade django-cfg-backup"):
            Manifest.from_json(data, FULL.key)


@pytest.mark.parametrize("schema", [0, -1, "1", 1.5, [1]])
def test_an_unknown_schema_is_refused(schema: object) -> None:
    with pytest.raises(ManifestError, match="is not one of ours: schema"):
        Manifest.from_json(changed(schema=schema), FULL.key)


@pytest.mark.parametrize("key", ["2026/other.json", "shop.json", "2027/2026/shop.json", "2026/shop.json.json"])
def test_a_renamed_manifest_is_refused(key: str) -> None:
    """Its name is its id, and its archive is next to that name."""
    with pytest.raises(ManifestError, match=f"{key} says it is 2026/shop.json: it was renamed or moved"):
        Manifest.from_json(FULL.to_json(), key)


@pytest.mark.parametrize("key", ["../shop", "/etc/passwd", "other/shop.gz", ".hidden", "..", "..\\shop", "a/../../b"])
def test_an_archive_in_another_folder_is_refused(key: str) -> None:
    """Deleting the backup would delete that file."""
    archive = {**json.loads(FULL.to_json())["archive"], "key": key}
    with pytest.raises(ManifestError, match=r"is not one of ours: archive\.key"):
        Manifest.from_json(changed(archive=archive), FULL.key)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"started_at": "2026-10-25T02:30:00"}, "started_at"),  # without a zone it is no moment
        ({"compression": "zip"}, "compression"),
        ({"trigger": "whim"}, "trigger"),
        ({"tables": [{"name": "book", "rows": -1, "exact": True}]}, r"tables\.0\.rows"),
        ({"source": {"project": "shop", "env": "test"}}, r"source\.database"),
        ({"archive": {"key": "shop.gz", "size": 1, "sha256": "ABC", "raw_size": 1, "raw_sha256": "0" * 64}}, "sha256"),
        ({"host": None}, "host"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_error_names_a_wrong_value(wrong: dict[str, object], where: str) -> None:
    """The first one, by its location in the document."""
    with pytest.raises(ManifestError, match=f"is not one of ours: .*{where}"):
        Manifest.from_json(changed(**wrong), FULL.key)


def test_keys_of_a_later_version_are_ignored() -> None:
    """At any level: a later schema 1 may have more keys."""
    document = json.loads(FULL.to_json())
    document["mood"] = "good"
    for part in ("source", "archive", "encryption", "engine"):
        document[part]["mood"] = "good"
    document["tables"][0]["mood"] = "good"
    assert Manifest.from_json(json.dumps(document).encode(), FULL.key) == FULL


def test_times_are_in_utc() -> None:
    """Whatever zone they were given in; the instant stays the same."""
    berlin = timezone(timedelta(hours=2))
    manifest = make_manifest(
        started_at=datetime(2026, 7, 1, 2, 0, tzinfo=berlin), slot=datetime(2026, 7, 1, 2, tzinfo=berlin)
    )
    document = json.loads(manifest.to_json())
    assert document["started_at"] == document["slot"] == "2026-07-01T00:00:00Z"
    assert manifest.started_at.tzinfo is UTC
    read = Manifest.from_json(
        manifest.to_json().replace(b"2026-07-01T00:00:00Z", b"2026-07-01T05:30:00+05:30"), manifest.key
    )
    assert read.started_at == manifest.started_at
    assert read.started_at.tzinfo is UTC


def test_the_manifest_has_no_field_for_a_secret() -> None:
    """No field whose name could hold a password, a passphrase, a key or a credential."""
    names = set(all_keys(json.loads(FULL.to_json())))
    assert "raw_sha256" in names
    suspicious = ("pass", "secret", "credential", "token", "user", "login", "private")
    assert [name for name in names if any(word in name for word in suspicious)] == []
    assert [name for name in names if "key" in name] == ["key"]  # the archive's name in the storage


def all_keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for inner in value.values() for key in all_keys(inner))]
    if isinstance(value, list):
        return [key for inner in value for key in all_keys(inner)]
    return []


@pytest.mark.parametrize(("part", "fact"), [("", "note"), ("source", "env"), ("archive", "size"), ("engine", "vendor")])
def test_a_manifest_is_immutable(part: str, fact: str) -> None:
    """It records what happened."""
    record = getattr(FULL, part) if part else FULL
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, fact, "changed")
    assert isinstance(FULL.tables, tuple)


def test_rows_are_the_sum_of_the_tables() -> None:
    assert FULL.rows == 205


@pytest.mark.parametrize(
    ("name", "key", "archive_key"),
    [("shop", "shop.json", "shop.sqlite3"), ("2026/10/shop", "2026/10/shop.json", "2026/10/shop.sqlite3")],
)
def test_the_archive_is_next_to_the_manifest(name: str, key: str, archive_key: str) -> None:
    """Both can be moved with their folder."""
    manifest = make_manifest(name)
    assert (manifest.key, manifest.archive_key, manifest.archive.key) == (key, archive_key, "shop.sqlite3")


def test_a_source_is_printed_as_a_path() -> None:
    assert str(FULL.source) == "tests/test/default"


def test_an_archive_of_another_name_is_refused() -> None:
    """Under this name only this backup's archive may be restored or deleted."""
    archive = json.loads(FULL.to_json())["archive"]
    with pytest.raises(ManifestError, match="does not bear the name"):
        Manifest.from_json(changed(archive={**archive, "key": f"other.{archive['key']}"}), FULL.key)


def test_a_manifest_without_a_schema_is_refused() -> None:
    with pytest.raises(ManifestError, match="schema"):
        Manifest.from_json(changed(schema=None), FULL.key)


def test_deeply_nested_json_is_refused() -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(b"[" * 200_000, FULL.key)


def test_a_time_out_of_range_is_refused() -> None:
    with pytest.raises(ManifestError, match="out of range"):
        Manifest.from_json(changed(started_at="9999-12-31T23:59:59-12:00"), FULL.key)


def test_two_archives_of_one_name_are_refused() -> None:
    """One of them would be lost."""
    archive = json.loads(FULL.to_json())["archive"]
    with pytest.raises(ManifestError, match="two archives have the same name"):
        Manifest.from_json(changed(row_archives=[archive]), FULL.key)


class TestProofs:
    proof = Proof(name="shop", archive_sha256="0" * 64, at=STARTED, duration=1, succeeded=True)

    def test_one_of_another_backup_is_refused(self) -> None:
        """It was renamed, and proves nothing of the backup whose name it has."""
        key = proof_key("other", STARTED)
        with pytest.raises(ManifestError, match=f"The proof {key} is of shop: it was renamed or moved. Drill again."):
            Proof.from_json(self.proof.to_json(), key)

    def test_digits_that_are_no_date_are_no_time(self) -> None:
        assert proof_time(proof_key("shop", STARTED)) == STARTED
        assert proof_time("shop.20269931T020000Z.proof.json") is None
