"""A day of a team: a deploy, a failing night, and a copy for staging; each step as the docs say, on real servers.

That the same schedule is served once by RQ, Django's tasks and Celery is shown in ``test_queue_backends``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import needs
from tests.support.notification_servers import WebServer, web_server
from tests.support.postgresql_databases import PostgreSQLServer
from tests.support.processes import wait_until
from tests.support.s3_server import S3Server
from tests.support.server_process import end, free_port
from tests.support.team_project import CUSTOMERS, TeamProject

ALERTS = Path(__file__).parents[2] / "contrib" / "prometheus-alerts.yml"
SCRAPES, CALLS, SIGNS = "token-of-prometheus-0", "token-of-the-dashboard-0123456789", "a-long-webhook-secret"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def team(tmp_path: Path, postgresql_server: PostgreSQLServer, s3_server: S3Server, web: WebServer) -> Iterator[Any]:
    made = TeamProject(
        tmp_path / "project",
        postgresql_server,
        tools_dir=str(postgresql_server.server.programs),
        storage=s3_server.parameters(s3_server.new_bucket()),
        before_migrate="pending",
        schedule={"cron": "0 * * * *"},
        databases=[{"alias": "staging", "enabled": False}],
        sanitizers={"staging": "shop/scrub.sql"},
        metrics_token=SCRAPES,
        api={"tokens": [CALLS]},
        webhooks=[{"url": f"http://127.0.0.1:{web.port}/hook", "secret": SIGNS}],
    )
    try:
        yield made
    finally:
        made.stop()


def test_a_day_of_a_team(team: TeamProject, web: WebServer, tmp_path: Path) -> None:
    deployed = deploy(team)
    team.start()
    assert scrape(team)["healthy"] == 1
    with prometheus(team, tmp_path) as firing:
        fail_at_night(team, web)
        wait_until(lambda: firing() == {"BackupFailing"}, 60)
        assert scrape(team)["failures_in_a_row"] == 2
        repair_in_the_morning(team)
        wait_until(lambda: firing() == set(), 60)
    restore_to_staging(team, deployed)
    ask_the_api(team)


def deploy(team: TeamProject) -> datetime:
    """With a pending migration, which empties a column; the moment after it."""
    team.release()
    printed = team.manage("migrate")
    made = next(line for line in printed.splitlines() if line.startswith("Backed up default as default_"))
    assert "before shop.0002_lose_addresses" in made
    assert printed.index(made) < printed.index("Applying shop.0002_lose_addresses")
    (backup,) = json.loads(team.manage("backup_list", "--json"))
    assert (backup["trigger"], team.addresses("default")) == ("before-migrate", {""})
    assert "No migrations to apply" in team.manage("migrate"), "nothing pending: no backup"
    assert len(json.loads(team.manage("backup_list", "--json"))) == 1
    return datetime.now().astimezone()


def scrape(team: TeamProject) -> dict[str, float]:
    """The numbers of the database ``default``, as Prometheus's own parser reads the page."""
    request = Request(f"{team.address}/backups/metrics", headers={"Authorization": f"Bearer {SCRAPES}"})  # noqa: S310
    with urlopen(request) as answer:  # noqa: S310  on loopback
        families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples]
    of_default = [sample for sample in samples if sample.labels.get("database") == "default"]
    assert {sample.labels["env"] for sample in of_default} == {"production"}
    return {sample.name.removeprefix("django_cfg_backup_"): sample.value for sample in of_default}


@contextmanager
def prometheus(team: TeamProject, folder: Path) -> Iterator[Any]:
    """A Prometheus that scrapes the page with the alerts of ``contrib``; what it yields gives those that fire."""
    port, token, config = free_port(), folder / "token", folder / "prometheus.json"
    token.write_text(SCRAPES)
    job = {
        "job_name": "backups", "metrics_path": "/backups/metrics", "scrape_interval": "2s",
        "authorization": {"credentials_file": str(token)},
        "static_configs": [{"targets": [team.address.removeprefix("http://")]}],
    }  # fmt: skip
    document = {"global": {"evaluation_interval": "1s"}, "rule_files": [str(ALERTS)], "scrape_configs": [job]}
    config.write_text(json.dumps(document))  # JSON is YAML
    argv = [needs.program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'metrics'}",
            f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def firing() -> set[str]:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/v1/alerts") as answer:
                alerts = json.load(answer)["data"]["alerts"]
        except OSError:  # it is starting
            return set()
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    try:
        yield firing
    finally:
        end(process)


def fail_at_night(team: TeamProject, web: WebServer) -> None:
    """A colleague made a table that the project's role may not read."""
    team.server.run("CREATE TABLE audit (id integer)")
    failed = team.run("backup_tick")
    assert (failed.returncode, "may not read public.audit" in failed.stderr) == (1, True), failed.stderr
    again = team.run("backup_create")
    assert (again.returncode, "may not read public.audit" in again.stderr) == (1, True), again.stderr
    received = [signed(headers, body) for headers, body in web.raw]
    events = [document["event"] for document in received]
    assert events.count("backup_failed") == 2
    assert events.count("incident_opened") == 1, "the second failure is no news"
    assert "may not read public.audit" in team.mails()


def signed(headers: dict[str, str], body: bytes) -> Any:
    """Check the signature as the docs do."""
    text = headers["X-Backup-Timestamp"].encode() + b"." + body
    assert headers["X-Backup-Signature"] == f"sha256={hmac.new(SIGNS.encode(), text, hashlib.sha256).hexdigest()}"
    return json.loads(body)


def repair_in_the_morning(team: TeamProject) -> None:
    team.server.run(f"GRANT SELECT ON audit TO {team.role}")
    team.manage("backup_create")


def restore_to_staging(team: TeamProject, moment: datetime) -> None:
    """As it was at the deploy, with the addresses of no person."""
    team.manage("backup_restore", "--at", moment.isoformat(), "--to", "staging", "--yes")
    addresses = team.addresses("staging")
    assert len(addresses) == CUSTOMERS
    assert {address.partition("@")[2] for address in addresses} == {"example.com"}
    assert team.addresses("default") == {""}


def ask_the_api(team: TeamProject) -> None:
    header = team.folder / "token.header"
    header.write_text(f"Authorization: Bearer {CALLS}\n")
    argv = [needs.program("curl"), "-sS", "--fail-with-body", "-H", f"@{header}", f"{team.address}/backups/api/status"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    status = json.loads(done.stdout)
    (source,) = status["sources"]
    assert (status["healthy"], source["database"], source["env"]) == (True, "default", "production")
