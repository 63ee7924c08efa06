"""What takes long: started as a job, and answered with its address."""

from __future__ import annotations

import json
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest

from django_cfg.backup.api.arguments import CreateBody, read_body
from django_cfg.backup.api.refusals import Refusal
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.services.project import clock
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.runs.file_lock import source_lock
from tests.support.api_client import OTHER, TOKEN, Api, refused

NAME = {"name": "latest"}


def history() -> list[tuple[str, str, str]]:
    return list(Run.objects.order_by("pk").values_list("kind", "state", "started_by"))


class TestActions:
    def test_a_backup(self, api: Api) -> None:
        started = api.post("create", {"databases": ["default"], "note": "before the sale\n\0'"}, token=OTHER)
        assert started.json()["phase"] == "waiting"
        ended = api.ended(started)
        assert (ended["phase"], ended["has_ended"], ended["is_lost"]) == ("succeeded", True, False)
        (name,) = ended["result"]["names"]
        assert api.get(f"backups/{name}").json()["note"] == "before the sale\n\0'"
        assert history() == [("backup", "succeeded", "HTTP API, token 2")]

    def test_a_backup_that_is_missing_in_a_place(self, api: Api) -> None:
        """It failed in part: what is made has its name in the result all the same."""
        away = api.site.root / "offsite"
        away.write_text("a file where a folder is expected")
        api.configure(copies=[{"name": "offsite", "storage": {"local_path": str(away)}}])
        ended = api.ended(api.post("create"))
        (name,) = [backup["name"] for backup in api.get("backups").json()]
        assert (ended["phase"], ended["result"]) == ("failed", {"names": [name]})
        assert f"{name} is made, and is not in all places where it is required" in ended["message"]

    def test_an_empty_body_backs_up_all(self, api: Api) -> None:
        assert api.ended(api.post("create"))["message"].startswith("1 backup made")

    @pytest.mark.parametrize("action", ["verify", "drill"])
    def test_a_verification(self, api: Api, made: list[Manifest], action: str) -> None:
        started = api.post(action, NAME | {"database": "default"})
        assert started.json()["names"] == [made[1].name]
        ended = api.ended(started)
        assert (ended["phase"], ended["by"]) == ("succeeded", "HTTP API, token 1")
        assert api.get("status").json()["sources"][0]["last_proof"] is not None or action == "verify"

    def test_a_restore(self, api: Api, made: list[Manifest]) -> None:
        api.configure(api={"allow_restore": True})
        api.site.sql("DELETE FROM book")
        started = api.post("restore", {"name": made[0].name, "to": "default"})
        assert started.json()["to"] == "default"
        ended = api.ended(started)
        assert (ended["phase"], ended["result"]["restored"]) == ("succeeded", made[0].name)
        assert api.site.sql("SELECT count(*) FROM book") == [(200,)]

    def test_a_restore_of_production_elsewhere(self, api: Api, made: list[Manifest]) -> None:
        api.site.set(ENV_MODE="production")
        name = api.site.create().name
        api.site.set(ENV_MODE="staging")
        wanted = {"name": name, "to": "default"}
        api.configure(api={"allow_restore": True})
        refusal = api.ended(api.post("restore", wanted))
        assert (refusal["phase"], "BackupConfig.sanitizers['default']" in refusal["message"]) == ("failed", True)
        sanitizer = "tests.support.sanitizers.scrub"
        api.configure(api={"allow_restore": True}, sanitizers={"default": sanitizer})
        ended = api.ended(api.post("restore", wanted))
        assert f"is now as in {name}, sanitised by {sanitizer}." in ended["message"]
        assert api.site.sql("SELECT DISTINCT name FROM author") == [("somebody",)]

    def test_a_failed_job_says_why_and_shows_no_secret(self, api: Api, made: list[Manifest]) -> None:
        started = api.post("verify", NAME)
        archive = api.site.backups / made[1].archive_key
        archive.write_bytes(bytes(archive.stat().st_size))
        ended = api.ended(started)
        assert (ended["phase"], TOKEN in json.dumps(ended)) == ("failed", False)
        assert made[1].archive_key in ended["message"]

    def test_an_unknown_job(self, api: Api) -> None:
        for number in ("0" * 24, "x", "0" * 23, "%2e%2e", "%00" * 24, "A" * 24, "0" * 24 + "%0a"):
            refused(api.get(f"jobs/{number}"), 404, 5)
        for number in ("../x", "%2e%2e%2fx"):
            refused(api.get(f"jobs/{number}"), 404)


class TestRefusals:
    def test_a_restore_that_was_not_switched_on(self, api: Api, made: list[Manifest]) -> None:
        """Not even by the setting of the admin."""
        api.configure(web_restore=True)
        message = refused(api.post("restore", {"name": made[0].name, "to": "default"}), 403)
        assert "BackupApiConfig(allow_restore=True)" in message
        api.site.call("backup_tick")
        assert history() == []

    def test_backups_that_are_switched_off(self, api: Api) -> None:
        api.configure(enabled=False)
        assert "Backups are switched off" in refused(api.post("create"), 403)

    def test_a_second_run(self, api: Api, made: list[Manifest]) -> None:
        """Also of another machine, of which the history alone says that it lives."""
        api.configure(api={"allow_restore": True})
        now, source = clock.now(), current_project().source("default")
        for kind in ("backup", "verification", "restore"):
            Run.objects.create(
                **source.model_dump(), kind=kind, host="far", lock_file="x", started_at=now, heartbeat_at=now
            )
        wanted: dict[str, dict[str, Any]] = {"create": {}, "verify": NAME, "drill": NAME}
        wanted["restore"] = NAME | {"to": "default"}
        for path, body in (*wanted.items(), ("create", {"databases": ["default"]})):
            assert "of tests/test/default has been running on far" in refused(api.post(path, body), 409, 1)
        Run.objects.update(heartbeat_at=now - timedelta(hours=1))
        assert [api.post(path, body).status_code for path, body in wanted.items()] == [202] * 4

    def test_a_second_run_of_this_machine(self, api: Api) -> None:
        project = current_project()
        source = project.source("default")
        with source_lock(project, source, Run.Kind.BACKUP) as lock:
            Run.objects.create(
                **source.model_dump(), kind="backup", host="here", started_at=clock.now(), lock_file=lock
            )
            refused(api.post("create"), 409, 1)

    def test_without_the_history_a_job_is_started_all_the_same(
        self, api: Api, made: list[Manifest], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Here no process can be started and only a tick could do it, which needs the history, and is said."""
        api.site.sql("ALTER TABLE django_cfg_backup_run RENAME TO away")
        assert "the history in the database 'default' cannot be used" in refused(api.post("verify", NAME), 503, 1)

    def test_a_backup_that_does_not_exist(self, api: Api, made: list[Manifest]) -> None:
        api.configure(api={"allow_restore": True})
        for path, more in {"verify": {}, "drill": {}, "restore": {"to": "default"}}.items():
            for name in ("nosuch", "../../etc/passwd", "\0"):
                refused(api.post(path, {"name": name, **more}), 404, 5)

    def test_an_unknown_database(self, api: Api, made: list[Manifest]) -> None:
        api.configure(api={"allow_restore": True})
        for path, body in {
            "create": {"databases": ["default", "no\0such"]},
            "verify": NAME | {"database": "nosuch"},
            "restore": NAME | {"to": "nosuch"},
        }.items():
            assert "There is no database" in refused(api.post(path, body), 400)

    def test_an_unsigned_backup_is_not_restored(self, api: Api, made: list[Manifest]) -> None:
        """A client that has a token and can write to the storage would run SQL: it takes a person and the command."""
        api.configure(api={"allow_restore": True}, signing_key="k" * 32)
        refused(api.post("restore", NAME | {"to": "default"}), 422, 1)
        assert "'allow_unsigned'" in refused(api.post("restore", NAME | {"to": "default", "allow_unsigned": True}), 400)


ROW = "canary-row"
BODIES = {
    "no JSON": b"name=canary-row",
    "half of it": b'{"name": "canary-row"',
    "no text": b"\xff\xfe\x00canary-row",
    "no object": b'["canary-row"]',
    "null": b"null",
    "nested deeply": b"[" * 60_000,
    "a large number": b'{"name": ' + b"9" * 60_000 + b"}",
    "NaN": b'{"name": NaN}',
    "a number for a text": b'{"name": 5}',
    "an object for a text": b'{"name": {"$ne": "canary-row"}}',
    "an unknown name": b'{"name": "latest", "canary": "canary-row"}',
    "a name that is too long": b'{"name": "' + b"x" * 501 + b'"}',
    "an empty name": b'{"name": ""}',
    "nothing": b"",
}


class TestBodies:
    def test_hostile_ones(self, api: Api) -> None:
        """The message says where the fault is, and repeats no value."""
        for body in BODIES.values():
            message = refused(api.post("verify", body), 400)
            assert ROW not in message
            assert len(message) < 300
            assert message.isprintable()

    def test_hostile_ones_of_a_backup(self, api: Api) -> None:
        bodies: list[Any] = [{"databases": "default"}, {"databases": [""]}, {"databases": [5]}]
        bodies += [{"databases": ["d"] * 1001}, {"database": "default"}, {"note": 5}, {"note": "x" * 10_001}]
        for body in bodies:
            refused(api.post("create", body), 400)
        assert history() == []

    def test_hostile_ones_of_a_restore(self, api: Api) -> None:
        """The database that is replaced has to be named."""
        api.configure(api={"allow_restore": True})
        bodies: list[Any] = [{}, {"to": None}, {"to": "default", "disconnect": "yes"}]
        for more in (*bodies, {"to": "default", "tables": "book"}):
            refused(api.post("restore", NAME | more), 400)

    def test_huge_ones(self, api: Api) -> None:
        for size in (65_537, 3 << 20):
            assert "more than 65,536 bytes" in refused(api.post("create", b" " * size), 413)
        for length in ("9" * 5_000, "-1", "many"):
            refused(api.post("create", b"{}", CONTENT_LENGTH=length), 413)
        assert history() == []

    def test_larger_ones_than_django_takes(self, api: Api) -> None:
        api.site.set(DATA_UPLOAD_MAX_MEMORY_SIZE=10)
        assert "bytes" in refused(api.post("create", {"databases": ["default"]}), 413)
        assert history() == []

    def test_huge_ones_of_no_length(self) -> None:
        """As ASGI hands them on when they come in chunks."""
        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        with pytest.raises(Refusal, match="more than 65,536 bytes"):
            read_body(ASGIRequest(scope, BytesIO(b" " * 65_537)), CreateBody)

    def test_one_that_ends_early(self, api: Api) -> None:
        class Cut(BytesIO):
            def read(self, *arguments: Any) -> bytes:
                raise OSError("The connection was cut.")

        text = refused(api.post("create", {"note": "x"}, **{"wsgi.input": Cut()}), 400)
        assert text == "The body could not be read: send JSON, and all of it."
        assert history() == []

    def test_whatever_they_are_called_they_are_read_as_json(self, api: Api) -> None:
        """As `curl --data` sends them; none is ever taken for an empty one."""
        for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
            answer = api.post("create", b'{"databases": ["nosuch"]}', content_type=kind)
            assert "no database 'nosuch'" in refused(answer, 400)
            refused(api.post("create", b"databases=default", content_type=kind), 400)

    def test_parameters_in_the_address_are_not_ignored(self, api: Api) -> None:
        assert "'databases': Extra" in refused(api.post("create?databases=nosuch"), 400)
