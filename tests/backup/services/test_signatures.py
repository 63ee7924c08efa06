"""Signed manifests: changes that a signing key detects, refusals, and behaviour without a key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from django_cfg import BackupConfig
from django_cfg.backup import create_backup, drill_backup, prune_backups, restore_backup, verify_backup
from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.manifest import Manifest, Signature, check_signature
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.project.project import current_project
from tests.support.django_project import Site

KEY = "0123456789abcdef-signing"
NEW_KEY = "fedcba9876543210-signing"
REFUSED: dict[str, Callable[[str], Any]] = {
    "restore": lambda name: restore_backup(name),
    "drill": lambda name: drill_backup(name),
}
every_use = pytest.mark.parametrize("use", REFUSED)


def stored(site: Site, manifest: Manifest) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((site.backups / manifest.key).read_bytes())
    return document


def rewrite(site: Site, manifest: Manifest, **changes: Any) -> None:
    """Change the stored manifest; a value of None removes the entry."""
    document = stored(site, manifest) | changes
    kept = {name: value for name, value in document.items() if value is not None}
    (site.backups / manifest.key).write_text(json.dumps(kept))


def signature_of(manifest: Manifest) -> Signature | None:
    project = current_project()
    return read_catalog(project.storage, project.signing_keys).signatures.get(manifest.name)


@pytest.fixture
def signed(site: Site) -> Manifest:
    site.configure(signing_key=KEY)
    return create_backup()


class TestSigning:
    def test_a_signed_backup_is_restored_and_drilled(self, signed: Manifest) -> None:
        assert signature_of(signed) is Signature.GOOD
        assert drill_backup().succeeded
        assert restore_backup().restored == signed.name

    def test_the_signature_can_be_computed_by_hand(self, site: Site, signed: Manifest) -> None:
        """As docs/security.md says, with no part of this package."""
        import hashlib
        import hmac

        document = stored(site, signed)
        found = document.pop("signature")
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        message = b"django-cfg-backup manifest\0" + text.encode()
        assert found == hmac.new(KEY.encode(), message, hashlib.sha256).hexdigest()

    def test_layout_does_not_matter(self, site: Site, signed: Manifest) -> None:
        path = site.backups / signed.key
        path.write_text(json.dumps(dict(reversed(stored(site, signed).items())), ensure_ascii=False))
        assert signature_of(signed) is Signature.GOOD

    @pytest.mark.parametrize(
        "entry", ["note", "restore_hint", "host", "started_at", "migrations", "packages", "tables"]
    )
    def test_a_change_of_any_entry_is_found(self, site: Site, signed: Manifest, entry: str) -> None:
        other: dict[str, Any] = {"started_at": "2020-01-01T00:00:00Z", "tables": [], "migrations": {}, "packages": {}}
        rewrite(site, signed, **{entry: other.get(entry, "something else")})
        assert signature_of(signed) is Signature.BAD

    @pytest.mark.parametrize("value", [True, "\ud800"])
    def test_an_added_entry_is_found(self, site: Site, signed: Manifest, value: Any) -> None:
        """It may mean something to a later version."""
        rewrite(site, signed, unheard_of=value)
        assert signature_of(signed) is Signature.BAD

    @pytest.mark.parametrize("value", ["", "0" * 64, 7, [], {"a": 1}, "\ud800"])
    def test_an_invalid_signature_is_found(self, site: Site, signed: Manifest, value: Any) -> None:
        rewrite(site, signed, signature=value)
        assert signature_of(signed) is Signature.BAD

    def test_the_key_is_never_stored(self, site: Site, signed: Manifest) -> None:
        for path in site.backups.rglob("*"):
            assert KEY.encode() not in path.read_bytes()

    def test_a_key_may_be_in_a_file(self, site: Site, signed: Manifest) -> None:
        path = site.root / "key"
        path.write_text(f"{KEY}\n")
        site.configure(signing_key=f"file:{path}")
        assert signature_of(signed) is Signature.GOOD


class TestRotation:
    def test_an_earlier_key_is_trusted(self, site: Site, signed: Manifest) -> None:
        site.configure(signing_key=NEW_KEY, earlier_signing_keys=[KEY])
        newer = create_backup()
        assert (signature_of(signed), signature_of(newer)) == (Signature.GOOD, Signature.GOOD)
        data = (site.backups / newer.key).read_bytes()
        assert check_signature(data, [NEW_KEY]) is Signature.GOOD
        assert check_signature(data, [KEY]) is Signature.BAD

    def test_a_removed_key_is_not_trusted(self, site: Site, signed: Manifest) -> None:
        site.configure(signing_key=NEW_KEY)
        with pytest.raises(VerificationFailed, match="not among signing_key and earlier_signing_keys"):
            restore_backup(signed.name)


class TestRefusals:
    @every_use
    def test_an_unsigned_backup(self, site: Site, use: str) -> None:
        manifest = create_backup()
        site.configure(signing_key=KEY)
        with pytest.raises(VerificationFailed, match=r"not signed.*--allow-unsigned"):
            REFUSED[use](manifest.name)

    @every_use
    def test_a_forged_backup(self, site: Site, signed: Manifest, use: str) -> None:
        rewrite(site, signed, note="forged")
        with pytest.raises(VerificationFailed, match="bad signature"):
            REFUSED[use](signed.name)

    def test_an_unsigned_backup_is_accepted_by_name(self, site: Site) -> None:
        manifest = create_backup()
        site.configure(signing_key=KEY)
        assert drill_backup(allow_unsigned=True).succeeded
        assert restore_backup(allow_unsigned=True).restored == manifest.name

    def test_a_badly_signed_backup_is_never_accepted(self, site: Site, signed: Manifest) -> None:
        rewrite(site, signed, note="forged")
        for use in (restore_backup, drill_backup):
            with pytest.raises(VerificationFailed, match="bad signature"):
                use(signed.name, allow_unsigned=True)
        with pytest.raises(VerificationFailed, match="bad signature"):
            verify_backup(signed.name)

    def test_without_a_key_signatures_are_not_checked(self, site: Site, signed: Manifest) -> None:
        rewrite(site, signed, signature="forged")
        site.configure()
        assert signature_of(signed) is None
        assert "signature" not in site.call("backup_list", "--json").json[0]
        assert restore_backup().restored == signed.name


class TestCommands:
    @pytest.fixture
    def three(self, site: Site) -> list[Manifest]:
        """One from before the key, one signed, one forged."""
        unsigned = create_backup()
        site.configure(signing_key=KEY)
        signed, forged = create_backup(), create_backup()
        rewrite(site, forged, note="forged")
        return [forged, signed, unsigned]

    def test_list(self, site: Site, three: list[Manifest]) -> None:
        words = ["bad signature", "manual ", "unsigned"]
        lines = site.call("backup_list").stdout.splitlines()[1:]
        for line, manifest, word in zip(lines, three, words, strict=True):
            assert manifest.name in line
            assert word in line
        documents = site.call("backup_list", "--json").json
        assert [document["signature"] for document in documents] == ["bad", "good", "none"]

    @pytest.mark.parametrize(
        ("index", "word", "value"), [(0, "bad signature", "bad"), (1, "good", "good"), (2, "unsigned", "none")]
    )
    def test_show(self, site: Site, three: list[Manifest], index: int, word: str, value: str) -> None:
        name = three[index].name
        assert re.search(rf"^Signature +{word}$", site.call("backup_show", name).stdout, re.MULTILINE)
        assert site.call("backup_show", name, "--json").json["signature"] == value

    @pytest.mark.parametrize("left", [[0], [2]], ids=["forged", "unsigned"])
    def test_status_is_unhealthy(self, site: Site, three: list[Manifest], left: list[int]) -> None:
        for index in {0, 2} - set(left):
            site.call("backup_delete", three[index].name, "--yes")
        answer = site.call("backup_status", "--json")
        assert answer.code == 4
        assert three[left[0]].name in answer.json["sources"][0]["problems"][0]

    def test_status_is_healthy_if_all_are_signed(self, site: Site, signed: Manifest) -> None:
        assert site.call("backup_status").code == 0

    def test_restore_and_drill(self, site: Site, three: list[Manifest]) -> None:
        unsigned = three[2].name
        for command in (["backup_restore", unsigned, "--yes"], ["backup_verify", unsigned, "--drill"]):
            assert site.call(*command).code == 1
            assert site.call(*command, "--allow-unsigned").code == 0

    def test_verify_finds_a_forged_one(self, site: Site, three: list[Manifest]) -> None:
        answer = site.call("backup_verify")
        assert answer.code == 1
        assert three[0].name in answer.stderr
        assert f"{three[2].name}: good" in answer.stdout


class TestRetention:
    def test_forged_backups_displace_nothing(self, site: Site) -> None:
        """A hundred of them, one for each day, and dated ahead of the clock too: real ones stay."""
        site.configure(signing_key=KEY, retention={"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0})
        real = create_backup()
        for days in range(-1, 3):
            started = (real.started_at + timedelta(days=days)).isoformat()
            for signature in ("0" * 64, None):
                name = f"{real.name}-{days}-{signature is None}"
                archive = stored(site, real)["archive"] | {"key": f"{name}.sqlite3.gz"}
                document = stored(site, real) | {"name": name, "started_at": started, "archive": archive}
                del document["signature"]
                if signature:
                    document["signature"] = signature
                (site.backups / f"{name}.json").write_text(json.dumps(document))
                (site.backups / archive["key"]).write_bytes((site.backups / real.archive_key).read_bytes())
        report = prune_backups()
        kept = {decision.name: str(decision) for decision in report.decisions if decision.keep}
        assert real.name in kept
        assert "counts for nothing" not in kept[real.name]
        assert sum("bad signature: it counts for nothing" in why for why in kept.values()) == 4

    def test_backups_from_before_the_key_age_like_any_other(self, site: Site) -> None:
        policy = {"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0}
        site.configure(retention=policy | {"enabled": False})
        old = create_backup()
        rewrite(site, old, started_at=(old.started_at - timedelta(days=3)).isoformat())
        site.configure(retention=policy, signing_key=KEY)
        new = create_backup()
        assert [manifest.name for manifest in read_catalog(current_project().storage).backups] == [new.name]


class TestConfiguration:
    @pytest.mark.parametrize("key", ["", "short", "x" * 15, " " + "x" * 20, "x" * 20 + "\n", "x\0" * 20])
    def test_unfit_keys_are_refused_without_being_shown(self, key: str) -> None:
        with pytest.raises(ValidationError, match="signing_key cannot be used") as refused:
            BackupConfig(signing_key=key)
        assert not key.strip() or key not in str(refused.value)

    def test_earlier_keys_without_a_key(self) -> None:
        with pytest.raises(ValidationError, match="set it, too"):
            BackupConfig(earlier_signing_keys=[KEY])
