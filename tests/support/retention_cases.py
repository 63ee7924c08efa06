"""The cases of retention_cases.txt; its header describes their format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from django_cfg.backup.config.backup import BackupRetentionConfig
from django_cfg.backup.errors import ClockSkew
from django_cfg.backup.formatting import MB
from django_cfg.backup.manifest import Manifest, Proof, Source
from django_cfg.backup.policy.retention import Plan, Scope, Sidecars, plan
from tests.support.manifests import make_manifest

TABLE = Path(__file__).with_name("retention_cases.txt")
DATABASES = frozenset({"default", "app", "app_logs", "logs"})


@dataclass(frozen=True)
class Backup:
    """One line of a case, up to the arrow."""

    given: str

    @property
    def words(self) -> list[str]:
        return self.given.split()[2:]

    def value(self, key: str, default: str) -> str:
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{key}=")), default)

    @property
    def manifest(self) -> Manifest:
        moment = datetime.fromisoformat(self.given[:16]).replace(tzinfo=UTC)
        *owner, database = ("tests/test/" + self.value("of", "default")).split("/")[-3:]
        source = Source(project=owner[0], env=owner[1], database=database)
        made = make_manifest(self.value("name", f"{'_'.join(owner)}_{database}_{moment:%Y%m%d_%H%M}"), source=source)
        changes = {
            "started_at": moment,
            "partial": "partial" in self.words,
            "trigger": "before-restore" if "before-restore" in self.words else "scheduled",
            "archive": made.archive.model_copy(update={"size": int(self.value("size", "1")) * MB}),
        }
        return made.model_copy(update=changes)

    @property
    def proof(self) -> Proof:
        manifest = self.manifest
        return Proof(
            name=manifest.name,
            archive_sha256="0" * 64 if "proved-other-bytes" in self.words else manifest.archive.sha256,
            at=manifest.started_at + timedelta(hours=1),
            duration=1,
            succeeded="drill-failed" not in self.words,
        )


@dataclass(frozen=True)
class Case:
    title: str
    setting: str
    backups: tuple[Backup, ...]
    expected: tuple[str, ...]  # the decision for each backup, then the warnings

    def option(self, name: str, default: str) -> str:
        return next((word.partition("=")[2] for word in self.setting.split() if word.startswith(f"{name}=")), default)

    @property
    def policy(self) -> BackupRetentionConfig:
        daily, weekly, monthly = map(int, self.setting.split()[0].split("/"))
        cap = int(self.option("cap", "0")) or None
        return BackupRetentionConfig(keep_daily=daily, keep_weekly=weekly, keep_monthly=monthly, max_total_size_mb=cap)

    def decided(self) -> tuple[str, ...]:
        """What the plan says, in the words of the table."""
        try:
            made = self.plan()
        except ClockSkew as error:
            return (f"! {error}",)
        by_name = {decision.manifest.name: decision for decision in made.decisions}
        assert len(by_name) == len(self.backups), "two backups of one name: give them names"
        ordered = [by_name[backup.manifest.name] for backup in self.backups]
        lines = tuple(f"{'keep  ' if decision.keep else 'DELETE'} {decision}" for decision in ordered)
        return (*lines, *(f"! {warning}" for warning in made.warnings))

    def plan(self) -> Plan:
        marked = {"proved", "proved-other-bytes", "drill-failed"}
        sidecars = Sidecars(
            proofs={b.manifest.name: b.proof for b in self.backups if marked & set(b.words)},
            pinned={b.manifest.name for b in self.backups if "pinned" in b.words},
            unreadable={b.manifest.name for b in self.backups if "proof-unreadable" in b.words},
        )
        now = datetime.fromisoformat(self.option("now", "2030-01-01")).replace(tzinfo=UTC)
        zone = ZoneInfo(self.option("zone", "Europe/Berlin"))
        scope = Scope("tests", "test", DATABASES, "orphans" in self.setting.split(), self.option("only", "") or None)
        return plan([b.manifest for b in self.backups], sidecars, self.policy, now, zone, scope)


def read_cases(text: str) -> Iterator[Case]:
    for block in text.strip().split("\n\n"):
        title, *lines = block.splitlines()
        if title.startswith("#"):
            continue
        setting, *body = (line.strip() for line in lines)
        rows = [line.partition("->") for line in body if not line.startswith("!")]
        decisions = tuple(decided.strip() for _, arrow, decided in rows if arrow)
        warnings = tuple(line for line in body if line.startswith("!"))
        yield Case(title, setting, tuple(Backup(given.strip()) for given, _, _ in rows), decisions + warnings)
