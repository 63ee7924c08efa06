"""The numbers for Prometheus: those of real backups, in a file, on a page and in a collector."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import clear_url_caches, include, path
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from django_cfg.backup import create_backup, drill_backup
from django_cfg.backup.errors import BackupError
from django_cfg.backup.models import Run
from django_cfg.backup.prometheus import BackupCollector
from django_cfg.backup.services.monitoring.metrics import NAMES, forget_metrics, read_metrics
from django_cfg.backup.services.monitoring.object_cache import forget_copies
from django_cfg.backup.storage.local import LocalStorage
from tests.support import needs
from tests.support.django_project import Site
from tests.support.stopped_clock import Clock

CONTRIB = Path(__file__).parents[3] / "contrib"
TOKEN = "a-long-metrics-token"
PREFIX = "django_cfg_backup_"
urlpatterns = [path("backups/", include("django_cfg.backup.urls"))]
Numbers = dict[tuple[str, str], float]  # by name, without the prefix, and database; of the project: an empty one


@pytest.fixture(autouse=True)
def _new_process() -> Iterator[None]:
    forget_metrics()
    forget_copies()
    yield
    forget_metrics()
    forget_copies()


def parsed(text: str) -> Numbers:
    found: Numbers = {}
    for family in text_string_to_metric_families(text):
        assert (family.type, family.documentation) == ("gauge", NAMES[family.name])
        for sample in family.samples:
            assert {**sample.labels, "database": ""} == {"project": "tests", "env": "test", "database": ""}
            found[sample.name.removeprefix(PREFIX), sample.labels.get("database", "")] = sample.value
    return found


def numbers(site: Site) -> Numbers:
    answer = site.call("backup_status", "--format=prometheus")
    assert (answer.code, answer.stderr) == (0, "")
    return parsed(answer.stdout)


def test_the_numbers_are_those_of_the_backups(hourly: Site, time: Clock) -> None:
    hourly.configure(schedule={"cron": "0 * * * *"}, retention={"max_total_size_mb": 7})
    first = create_backup()
    proof = drill_backup(first.name)
    time.advance(minutes=20)
    newest = create_backup()
    time.advance(minutes=5)
    found = numbers(hourly)
    assert found == {
        ("readable", ""): 1,
        ("read_timestamp_seconds", ""): time.now.timestamp(),
        ("storage_limit_bytes", ""): 7_000_000,
        ("last_success_timestamp_seconds", "default"): newest.started_at.timestamp(),
        ("last_proof_timestamp_seconds", "default"): proof.at.timestamp(),
        ("next_slot_timestamp_seconds", "default"): time.now.replace(minute=0, second=0).timestamp(),
        ("size_bytes", "default"): newest.size,
        ("duration_seconds", "default"): (newest.finished_at - newest.started_at).total_seconds(),
        ("expected_recovery_seconds", "default"): proof.duration,
        ("overdue", "default"): 0,
        ("proof_overdue", "default"): 0,
        ("healthy", "default"): 1,
        ("failures_in_a_row", "default"): 0,
        ("backups", "default"): 2,
        ("storage_bytes", "default"): first.size + newest.size,
    }


def test_what_is_wrong_is_in_the_numbers_and_not_in_the_exit_code(hourly: Site, time: Clock) -> None:
    create_backup()
    time.advance(hours=3)
    for _ in range(2):
        Run.objects.create(project="tests", env="test", database="default", state="failed", finished_at=time.now)
    found = numbers(hourly)
    assert found["failures_in_a_row", "default"] == 2
    assert (found["overdue", "default"], found["healthy", "default"]) == (1, 0)
    time.advance(minutes=1)
    create_backup()
    assert numbers(hourly)["failures_in_a_row", "default"] == 0


def test_a_database_without_backups(hourly: Site) -> None:
    found = numbers(hourly)
    assert (found["overdue", "default"], found["healthy", "default"], found["backups", "default"]) == (1, 0, 0)
    assert ("last_success_timestamp_seconds", "default") not in found


def test_names_of_databases_are_escaped(hourly: Site) -> None:
    odd = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(hourly.root / "odd.sqlite3")}
    hourly.use_databases(default=settings.DATABASES["default"], **{'a"b\\c': odd})
    assert numbers(hourly)["backups", 'a"b\\c'] == 0


class TestFile:
    def test_it_is_replaced_in_one_step_and_readable_for_all(self, hourly: Site, tmp_path: Path) -> None:
        """A reader that has opened the old file still reads the old file, to its end."""
        folder = tmp_path / "textfile"
        folder.mkdir()
        file = folder / "backup.prom"
        file.write_text("old")
        file.chmod(0o600)
        with file.open() as reader:
            answer = hourly.call("backup_status", "--format=prometheus", f"--output={file}")
            assert reader.read() == "old"
        assert (answer.code, answer.stdout) == (0, "")
        assert parsed(file.read_text())["readable", ""] == 1
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        assert [found.name for found in folder.iterdir()] == ["backup.prom"]

    def test_a_file_that_cannot_be_written(self, hourly: Site, tmp_path: Path) -> None:
        answer = hourly.call("backup_status", "--format=prometheus", f"--output={tmp_path}/missing/backup.prom")
        assert (answer.code, "Could not write" in answer.stderr) == (1, True)
        answer = hourly.call("backup_status", "--format=prometheus", "--output=/dev/null")
        assert "/dev/null is no file" in answer.stderr
        assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)

    def test_options_that_exclude_each_other(self, hourly: Site, tmp_path: Path) -> None:
        assert "--output is for" in hourly.call("backup_status", f"--output={tmp_path}/x").stderr
        assert "exclude each other" in hourly.call("backup_status", "--json", "--format=prometheus").stderr

    def test_a_storage_that_cannot_be_read(self, hourly: Site, tmp_path: Path) -> None:
        """The file says so, in place of numbers that are no longer true."""
        create_backup()
        hourly.configure(storage={"local_path": str(hourly.database)})
        file = tmp_path / "backup.prom"
        answer = hourly.call("backup_status", "--format=prometheus", f"--output={file}")
        assert answer.code == 1
        found = parsed(file.read_text())
        assert found["readable", ""] == 0
        assert {database for _, database in found} == {""}


def test_a_second_look_reads_no_object(hourly: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One list of the storage, whatever number of backups it holds."""
    for _ in range(3):
        create_backup()
    read_metrics()
    objects: list[str] = []
    read = LocalStorage.read
    monkeypatch.setattr(LocalStorage, "read", lambda self, key: objects.append(key) or read(self, key))
    assert read_metrics().samples[f"{PREFIX}backups"][0].value == 3
    assert objects == []


def test_a_storage_that_never_answers_does_not_hold_a_scrape(hourly: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keys = {"s3_access_key": "A" * 12, "s3_secret_key": "s" * 12}
        hourly.configure(storage={"backend": "s3", "s3_bucket": "b", "s3_endpoint_url": url, **keys})
        metrics = read_metrics(0.2)
    assert parsed(str(metrics))["readable", ""] == 0
    assert "has not answered" in metrics.error


class TestPage:
    @pytest.fixture
    def page(self, hourly: Site) -> Site:
        hourly.set(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"], MIDDLEWARE=[])
        clear_url_caches()
        hourly.configure(metrics_token=TOKEN)
        return hourly

    def get(self, token: str = "", **options: Any) -> Any:
        headers = {"Authorization": token} if token else {}
        return Client(headers=headers).get("/backups/metrics", **options)

    def test_there_is_none_without_the_setting(self, page: Site) -> None:
        page.configure()
        assert self.get(f"Bearer {TOKEN}").status_code == 404
        page.set(BACKUP={"nosuch": 1})
        assert self.get(f"Bearer {TOKEN}").status_code == 404

    @pytest.mark.parametrize("token", ["", "Bearer ", f"Bearer {TOKEN}x", TOKEN, f"bearer{TOKEN}", "Bearer \xe9\xe8"])
    def test_it_needs_the_token(self, page: Site, token: str) -> None:
        answer = self.get(token)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert PREFIX not in answer.text
        assert TOKEN not in answer.text

    def test_it_shows_the_numbers_also_where_pages_need_a_login(self, page: Site) -> None:
        made = create_backup()
        page.set(
            MIDDLEWARE=[
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                "django.contrib.auth.middleware.LoginRequiredMiddleware",
            ]
        )
        answer = self.get(f"Bearer {TOKEN}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "no-store" in answer.headers["Cache-Control"]
        assert parsed(answer.text)["size_bytes", "default"] == made.size
        assert Client(headers={"Authorization": f"Bearer {TOKEN}"}).post("/backups/metrics").status_code == 405

    def test_scrapes_within_half_a_minute_read_once(self, page: Site) -> None:
        assert parsed(self.get(f"Bearer {TOKEN}").text)["backups", "default"] == 0
        create_backup()
        assert parsed(self.get(f"Bearer {TOKEN}").text)["backups", "default"] == 0
        forget_metrics()
        assert parsed(self.get(f"Bearer {TOKEN}").text)["backups", "default"] == 1

    def test_a_short_token_is_refused(self, page: Site) -> None:
        with pytest.raises(ValueError, match="metrics_token cannot be used: it has fewer than 16"):
            page.configure(metrics_token="short")

    def test_it_may_be_in_a_file(self, page: Site) -> None:
        file = page.root / "token"
        file.write_text(f"{TOKEN}-of-a-file\n")
        page.configure(metrics_token=f"file:{file}")
        assert self.get(f"Bearer {TOKEN}-of-a-file").status_code == 200
        assert self.get(f"Bearer file:{file}").status_code == 401


class TestCollector:
    def test_it_gives_the_same_numbers(self, hourly: Site) -> None:
        create_backup()
        registry = CollectorRegistry(auto_describe=True)
        registry.register(BackupCollector())
        assert parsed(generate_latest(registry).decode()) == numbers(hourly)

    def test_registering_it_reads_nothing(self, hourly: Site) -> None:
        hourly.set(BACKUP={"nosuch": 1})
        registry = CollectorRegistry(auto_describe=True)
        registry.register(BackupCollector())
        assert generate_latest(registry) == b"", "the metrics of other collectors are not lost"
        with pytest.raises(BackupError):
            read_metrics()


class TestContrib:
    """The dashboard and the alerts name metrics that there are."""

    @pytest.mark.parametrize("name", ["grafana-dashboard.json", "prometheus-alerts.yml"])
    def test_each_metric_is_exported(self, name: str) -> None:
        named = set(re.findall(rf"{PREFIX}\w+", (CONTRIB / name).read_text()))
        assert len(named) > 5
        assert named - NAMES.keys() == set()

    def test_the_dashboard_is_one(self) -> None:
        board = json.loads((CONTRIB / "grafana-dashboard.json").read_text())
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) > 5

    def test_prometheus_understands_the_alerts_and_the_metrics(self, promtool: str, hourly: Site) -> None:
        create_backup()
        rules = [promtool, "check", "rules", str(CONTRIB / "prometheus-alerts.yml")]
        subprocess.run(rules, check=True, capture_output=True)
        text = str(read_metrics())
        subprocess.run([promtool, "check", "metrics"], input=text, text=True, check=True, capture_output=True)

    def test_the_alerts_fire(self, promtool: str, tmp_path: Path) -> None:
        """A backup that is overdue, a file that is written no more, and no metrics at all."""
        of = 'project="shop", env="production"'
        series = {f'{PREFIX}overdue{{{of}, database="default"}}': "1x200",
                  f"{PREFIX}read_timestamp_seconds{{{of}}}": "0x200"}  # fmt: skip
        tests = {
            "rule_files": [str(CONTRIB / "prometheus-alerts.yml")],
            "tests": [
                {
                    "interval": "1m",
                    "input_series": [{"series": name, "values": values} for name, values in series.items()],
                    "promql_expr_test": [
                        {"expr": f'count(ALERTS{{alertstate="firing", alertname="{name}"}})', "eval_time": "2h",
                         "exp_samples": [{"labels": "{}", "value": 1}]}
                        for name in ("BackupOverdue", "BackupMetricsStale", "BackupMetricsMissing")
                    ],
                }
            ],
        }  # fmt: skip
        (tmp_path / "tests.json").write_text(json.dumps(tests))  # JSON is YAML
        run = [promtool, "test", "rules", str(tmp_path / "tests.json")]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def promtool() -> str:
    return needs.program("promtool")


def test_the_names_are_listed_in_the_docs() -> None:
    page = (CONTRIB.parent / "docs" / "monitoring.md").read_text()
    assert {name for name in NAMES if f"`{name.removeprefix(PREFIX)}`" not in page} == set()
