"""How everything is, in a sentence that begins with one of five words, worst first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from django_cfg.backup.manifest import Proof
from django_cfg.backup.models import Run
from django_cfg.backup.services.catalog.catalog import read_catalog
from django_cfg.backup.services.monitoring.status import SourceStatus, StatusReport, read_status
from django_cfg.backup.services.monitoring.summary import (
    Verdict,
    last_failures,
    storage_failed,
    summarize,
)
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.kept_data import KeptData
from tests.support.backup_status import prove, put
from tests.support.django_project import Site

NOW = datetime(2026, 6, 3, 12, tzinfo=UTC)


def proof(hours: float, *, succeeded: bool = True) -> Proof:
    return Proof(name="b", archive_sha256="0" * 64, at=NOW - timedelta(hours=hours), duration=1, succeeded=succeeded)


def source(database: str = "default", *problems: str, hours: float | None = 3, **facts: Any) -> SourceStatus:
    """A source whose last backup is some *hours* old; None: there is none."""
    known: dict[str, Any] = {
        "project": "tests", "env": "test", "database": database, "healthy": not problems, "overdue": False,
        "problems": problems, "last_backup": "b", "size": 1, "next_slot": NOW + timedelta(hours=21),
        "last_success": None if hours is None else NOW - timedelta(hours=hours),
        "age_seconds": None if hours is None else int(hours * 3600),
        "last_proof": None, "provable_here": True, "damaged": (),
    }  # fmt: skip
    return SourceStatus(**known | facts)


def report(*sources: SourceStatus) -> StatusReport:
    return StatusReport(healthy=True, sources=sources, old_data=(), old_data_unknown=())


def sentence(*sources: SourceStatus, failures: dict[str, str] | None = None) -> str:
    return summarize(report(*sources), failures or {}, NOW).sentence


def test_a_restore_that_was_interrupted_at_its_switch_is_worse_than_all_else() -> None:
    kept = KeptData(database="shop", name="shop__switching_1", size=1, made_at=NOW, unfinished=True)
    found = report(source("default"), source("shop", last_proof=proof(1))).model_copy(update={"old_data": (kept,)})
    assert summarize(found, {}, NOW).verdict is Verdict.FAILED
    assert summarize(found, {}, NOW).sentence == f"Failed: {kept.problem}"


class TestSafe:
    def test_all_that_one_wants_to_know(self) -> None:
        several = [source(name, last_proof=proof(30)) for name in ("default", "shop", "logs")]
        assert sentence(*several) == "Safe: all 3 databases were backed up 3 h ago and proved 30 h ago; next in 21 h."

    def test_the_oldest_backup_and_proof_and_the_first_slot_count(self) -> None:
        one = source("default", last_proof=proof(1), next_slot=NOW + timedelta(hours=5))
        other = source("shop", hours=50, last_proof=proof(100))
        assert (
            sentence(one, other) == "Safe: both databases were backed up 2 days ago and proved 4 days ago; next in 5 h."
        )

    @pytest.mark.parametrize(
        ("facts", "text"),
        [
            ({}, "never proved; next in 21 h."),
            ({"next_slot": None}, "never proved; no schedule makes the next."),
            ({"next_slot": NOW - timedelta(minutes=1)}, "never proved; next with the next tick."),
        ],
    )
    def test_what_there_is_not(self, facts: dict[str, Any], text: str) -> None:
        assert sentence(source(**facts)) == f"Safe: the database default was backed up 3 h ago and {text}"

    def test_some_of_them_are_proved(self) -> None:
        text = sentence(source("default", last_proof=proof(5)), source("shop"))
        assert "and 1 of them proved 5 h ago;" in text


LATE = "the backup is overdue"
UNSIGNED = "not signed with signing_key: b"


class TestVerdicts:
    @pytest.mark.parametrize(
        ("status", "failure", "verdict"),
        [
            pytest.param(source(), "", Verdict.SAFE, id="safe"),
            pytest.param(source("default", LATE, overdue=True), "", Verdict.OVERDUE, id="overdue"),
            pytest.param(source("default", "old", proof_overdue=True), "", Verdict.OVERDUE, id="drill overdue"),
            pytest.param(
                source("default", LATE, "old", overdue=True, proof_overdue=True), "", Verdict.OVERDUE, id="both overdue"
            ),
            pytest.param(source("default", UNSIGNED), "", Verdict.PARTLY_FAILED, id="another problem"),
            pytest.param(
                source("default", LATE, UNSIGNED, overdue=True), "", Verdict.PARTLY_FAILED, id="worse than late"
            ),
            pytest.param(
                source("default", "old", UNSIGNED, proof_overdue=True), "", Verdict.PARTLY_FAILED, id="worse than old"
            ),
            pytest.param(source(hours=None), "", Verdict.NEVER, id="never"),
            pytest.param(source("default", LATE, hours=None, overdue=True), "", Verdict.NEVER, id="never, and overdue"),
            pytest.param(source(), "disk full", Verdict.FAILED, id="the last backup failed"),
            pytest.param(source(hours=None), "disk full", Verdict.FAILED, id="the first one failed"),
            pytest.param(source(last_proof=proof(1, succeeded=False)), "", Verdict.FAILED, id="the last drill failed"),
        ],
    )
    def test_one_source(self, status: SourceStatus, failure: str, verdict: Verdict) -> None:
        summary = summarize(report(status), {"default": failure} if failure else {}, NOW)
        assert [found.verdict for found in summary.sources] == [verdict]
        assert summary.verdict is verdict
        assert summary.sentence.startswith(f"{verdict}: ")
        assert verdict is Verdict.SAFE or summary.sources[0].reason or status.last_proof

    @pytest.mark.parametrize(
        ("sources", "verdict"),
        [
            ("FF", Verdict.FAILED),
            ("FNOS", Verdict.NEVER),
            ("NS", Verdict.NEVER),
            ("FS", Verdict.PARTLY_FAILED),
            ("FO", Verdict.PARTLY_FAILED),
            ("PPS", Verdict.PARTLY_FAILED),
            ("OS", Verdict.OVERDUE),
            ("SS", Verdict.SAFE),
            ("", Verdict.NEVER),
        ],
    )
    def test_the_worst_of_several(self, sources: str, verdict: Verdict) -> None:
        made = {
            "F": lambda name: source(name),
            "N": lambda name: source(name, hours=None),
            "P": lambda name: source(name, UNSIGNED),
            "O": lambda name: source(name, LATE, overdue=True),
            "S": lambda name: source(name),
        }
        statuses = [made[letter](f"db{number}") for number, letter in enumerate(sources)]
        failures = {f"db{number}": "disk full" for number, letter in enumerate(sources) if letter == "F"}
        assert summarize(report(*statuses), failures, NOW).verdict is verdict

    def test_the_words_are_ordered_worst_first(self) -> None:
        assert [str(verdict) for verdict in Verdict] == [
            "Failed", "Never backed up", "Partly failed", "Overdue", "Safe",
        ]  # fmt: skip


class TestSentences:
    def test_the_databases_and_their_reasons(self) -> None:
        text = sentence(source(), source("shop"), failures={"shop": "The disk is full."})
        assert text == "Partly failed: 1 of 2 databases. shop: The disk is full."

    def test_of_many_three_are_named(self) -> None:
        text = sentence(*(source(f"db{number}", hours=None) for number in range(5)))
        assert text.startswith("Never backed up: 5 of 5 databases. db0: there is no backup of it. db1: ")
        assert text.endswith("and 2 more databases.")

    def test_no_database(self) -> None:
        assert sentence() == "Never backed up: no database is enabled for backups."

    def test_a_storage_that_cannot_be_read(self) -> None:
        summary = storage_failed("It is away.")
        assert (summary.verdict, summary.sentence) == (
            Verdict.FAILED,
            "Failed: the storage cannot be read. It is away.",
        )


@pytest.mark.usefixtures("books")
class TestLastFailures:
    def failures(self) -> dict[str, str]:
        project = current_project()
        return last_failures(read_status(project, read_catalog(project.storage)))

    def run(self, state: str, hours: float, **facts: Any) -> Run:
        return Run.objects.create(
            project="tests",
            env="test",
            database="default",
            state=state,
            started_at=NOW - timedelta(hours=hours),
            **facts,
        )

    def test_the_last_run_counts(self, site: Site) -> None:
        self.run("succeeded", 3)
        self.run("failed", 2, message="The disk is full.")
        self.run("cancelled", 1)
        assert self.failures() == {"default": "The disk is full."}
        self.run("succeeded", 0.5)
        assert self.failures() == {}

    def test_a_stored_backup_counts_where_the_history_does_not_know_it(self, site: Site) -> None:
        """The history was down when it was made, or came back with an old dump."""
        self.run("failed", 2, message="The disk is full.")
        put(site, NOW - timedelta(hours=3))
        assert self.failures() == {"default": "The disk is full."}
        put(site, NOW - timedelta(hours=1))
        assert self.failures() == {}

    def test_other_kinds_and_sources_do_not_count(self, site: Site) -> None:
        self.run("failed", 2, kind="restore")
        Run.objects.create(project="tests", env="live", database="default", state="failed", started_at=NOW)
        assert self.failures() == {}

    def test_without_a_history(self, site: Site) -> None:
        call_command("migrate", "django_cfg_backup", "zero", verbosity=0)
        with transaction.atomic():
            assert self.failures() == {}
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")


@pytest.mark.usefixtures("books")
def test_a_real_project(site: Site) -> None:
    def now_says(now: datetime | None = None) -> str:
        project = current_project()
        status = read_status(project, read_catalog(project.storage))
        return summarize(status, last_failures(status), now or datetime.now(UTC)).sentence

    assert now_says().startswith("Never backed up: 1 of 1 database. default: ")
    made = site.create()
    assert now_says(made.finished_at).startswith(
        "Safe: the database default was backed up less than 1 s ago and never proved; next with the next tick."
    )
    prove(site, made, succeeded=False)
    assert now_says().startswith("Failed: 1 of 1 database. default: the drill of ")
