"""What is read: the documents of the commands, within a few seconds."""

from __future__ import annotations

import importlib
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.urls import clear_url_caches

from django_cfg.backup.api import urls
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.services.project import clock
from tests.support import api_urls
from tests.support.api_client import Api, refused
from tests.support.processes import Stopwatch
from tests.support.server_process import free_port
from tests.support.stopped_clock import Clock

LIMIT = 5.0  # seconds
SECRET = "canary-secret-key"


class TestDocuments:
    def test_are_those_of_the_commands(self, api: Api, made: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
        stopped = Clock()
        stopped.now = clock.now()
        monkeypatch.setattr(clock, "now", lambda: stopped.now)
        older, newer = (manifest.name for manifest in made)
        for path, command in {
            "backups": "backup_list",
            "backups?all=true&database=default": "backup_list --all --database=default",
            f"backups/{older}": f"backup_show {older}",
            "backups/latest?database=default": "backup_show latest",
            "status": "backup_status",
            "prune": "backup_prune --dry-run",
            "prune?orphans=1": "backup_prune --dry-run --orphans",
        }.items():
            answer = api.get(path)
            assert answer.status_code == 200, answer.text
            assert answer.json() == api.site.call(*f"{command} --json".split()).json, path
        assert [each["name"] for each in api.get("backups").json()] == [newer, older]

    def test_with_a_signing_key(self, api: Api, made: list[Manifest]) -> None:
        api.configure(signing_key="k" * 32)
        assert {each["signature"] for each in api.get("backups").json()} == {"none"}
        assert "is not signed" in refused(api.post("drill", {"name": made[0].name}), 422, 1)

    def test_of_copies(self, api: Api) -> None:
        copies = [{"name": "offsite", "storage": {"local_path": str(api.site.root / "offsite")}}]
        api.configure(copies=copies)
        api.site.create()
        (found,) = api.get("backups").json()
        assert found["places"] == [{"name": "main", "state": "intact"}, {"name": "offsite", "state": "intact"}]
        assert [each["place"] for each in api.get("prune").json()["copies"]] == ["offsite"]

    def test_what_is_unhealthy_is_no_error(self, api: Api, made: list[Manifest]) -> None:
        (api.site.backups / made[0].archive_key).unlink()
        answer = api.get("status")
        assert (answer.status_code, answer.json()["healthy"]) == (200, False)

    def test_a_clock_that_is_wrong(self, api: Api, made: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
        stopped = Clock()
        stopped.now = made[0].started_at.replace(year=made[0].started_at.year - 1)
        monkeypatch.setattr(clock, "now", lambda: stopped.now)
        assert "Nothing was pruned" in refused(api.get("prune"), 409, 1)

    def test_a_damaged_backup(self, api: Api, made: list[Manifest]) -> None:
        (api.site.backups / made[0].archive_key).unlink()
        assert "is missing" in refused(api.get(f"backups/{made[0].name}"), 422, 1)
        assert [each["name"] for each in api.get("backups").json()] == [made[1].name]


class TestHostileInput:
    def test_names(self, api: Api, made: list[Manifest]) -> None:
        for name in (
            *("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/db.sqlite3", "nosuch", "x/../../y", "%00", "%ff"),
            *("%e2%80%ae", "x" * 5_000, f"{made[0].name}.json", "a%09b"),
        ):
            message = refused(api.get(f"backups/{name}"), 404, 5)
            assert message.isprintable()
            assert "SQLite format" not in message

    def test_the_beginning_of_several_names(self, api: Api, made: list[Manifest]) -> None:
        assert "fits 2 backups" in refused(api.get("backups/default"), 400)

    def test_parameters(self, api: Api) -> None:
        for path, says in {
            "backups?databse=default": "'databse': Extra inputs",
            "backups?database=a&database=b": "'database' was given 2 times",
            "backups?all=perhaps": "'all': Input should be a valid boolean",
            "backups?database=": "'database': String should have at least 1",
            "backups?database=nosuch": "There is no database 'nosuch'",
            "backups?database=" + "x" * 501: "'database': String should have at most 500",
            "backups?" + "y" * 5_000: "'yyyyyyyyyy",
            "backups/latest?all=1": "'all': Extra inputs",
            "status?x=1": "'x': Extra inputs",
            "prune?orphans=%00": "'orphans'",
            "openapi.json?x": "'x': Extra inputs",
            "jobs/x?y=1": "'y': Extra inputs",
        }.items():
            message = refused(api.get(path), 400)
            assert says in message
            assert len(message) < 300
            assert "perhaps" not in message

    def test_what_no_test_foresaw(
        self, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither the answer nor the log holds the secret, and the answer does not say what went wrong."""
        key = "canary" + "0" * 32
        api.configure(signing_key=key)

        def fail(*values: Any) -> Any:
            raise RuntimeError(f"a row, and {key}")

        monkeypatch.setattr("django_cfg.backup.api.reading.read_catalog", fail)
        message = refused(api.get("backups"), 500, 1)
        assert "a row" not in message
        assert "RuntimeError: a row, and ***" in caplog.text
        assert key not in caplog.text


class TestAway:
    def test_a_silent_storage(self, api: Api) -> None:
        """Each address answers in time, in parallel with the others, and says what does not answer."""
        gets = ["backups", "backups/latest", "status", "prune", "download/latest"]
        posts: dict[str, dict[str, str]] = {"verify": {}, "drill": {}, "restore": {"to": "default"}}

        def timed(path: str) -> tuple[float, Any]:
            watch = Stopwatch()
            body = {"name": "latest", **posts[path]} if path in posts else None
            answer = api.get(path) if body is None else api.post(path, body)
            return watch.seconds, answer

        with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(8) as threads:
            place = f"http://127.0.0.1:{server.getsockname()[1]}"
            keys = {"s3_access_key": "A" * 12, "s3_secret_key": SECRET}
            storage = {"backend": "s3", "s3_bucket": "b", "s3_endpoint_url": place, **keys}
            api.configure(api={"allow_restore": True, "allow_download": True}, storage=storage)
            found = list(threads.map(timed, [*gets, *posts]))
        assert [round(took, 1) for took, _ in found if took > LIMIT] == []
        for _, answer in found:
            message = refused(answer, 503, 1)
            assert place.rpartition("/")[2] in message
            assert SECRET not in message

    def test_a_database(self, api: Api, made: list[Manifest]) -> None:
        """What is stored is shown; the status says which database it does not know enough of."""
        away = {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "u", "PASSWORD": SECRET}
        away |= {"HOST": "127.0.0.1", "PORT": str(free_port()), "ATOMIC_REQUESTS": True}
        api.site.use_databases(**{**settings.DATABASES, "away": away})
        importlib.reload(urls)  # as when the site starts with these databases
        importlib.reload(api_urls)
        clear_url_caches()
        watch = Stopwatch()
        answer = api.get("status")
        assert watch.seconds < LIMIT
        assert (answer.status_code, answer.json()["old_data_unknown"]) == (200, ["away"])
        assert SECRET not in answer.text
        assert len(api.get("backups").json()) == 2
