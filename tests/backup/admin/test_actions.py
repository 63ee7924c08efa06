"""What is done by a click: only after what has to be typed, by whom, and recorded."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError

from django_cfg.backup.errors import VerificationFailed
from django_cfg.backup.formatting import megabytes
from django_cfg.backup.manifest import Manifest
from django_cfg.backup.models import Run
from django_cfg.backup.pipeline import stream
from django_cfg.backup.services.jobs.boards import FileBoard
from django_cfg.backup.services.jobs.perform import perform_waiting
from django_cfg.backup.services.project.project import current_project
from tests.support.admin_pages import PASSWORD, address, client_of, log_entries, make_user, messages_of
from tests.support.django_project import Site
from tests.support.stored_history import backups, daily, put

NAME = "db.sqlite3"  # of the database, as it has to be typed


@pytest.fixture
def ada(admin: Site) -> Any:
    """The browser of a superuser."""
    return client_of(make_user("ada", is_superuser=True))


def last_run(kind: str) -> tuple[str, str]:
    """Return how the last run of a kind ended, and who started it."""
    run = Run.objects.filter(kind=kind).latest("pk")
    return run.state, run.started_by


def test_a_backup_is_made_by_the_user_who_asked_for_it(ada: Any, admin: Site) -> None:
    asked = ada.post(address("create"), {"note": "before the sale"})
    assert asked.status_code == 302
    waiting = ada.get(asked.url).text
    assert "Waiting: it runs with the next tick." in waiting
    perform_waiting()
    done = ada.get(asked.url).text
    assert "Succeeded. 1 backup made: default_" in done
    assert last_run("backup") == ("succeeded", "ada")
    assert "before the sale" in ada.get(address("backups")).text
    assert log_entries() == [("ada", "all databases", "Asked for: Backup of all databases.")]


def test_verify_and_drill_are_runs_of_the_user(ada: Any, made: list[Manifest]) -> None:
    for action, outcome in {"verify": "is good.", "drill": "was restored and compared"}.items():
        asked = ada.post(address(action), {"name": made[0].name})
        perform_waiting()
        assert outcome in ada.get(asked.url).text
        assert last_run("verification") == ("succeeded", "ada")
    assert [entry[:2] for entry in log_entries()] == [("ada", made[0].name)] * 2


def test_a_pin_keeps_a_backup_and_says_why(ada: Any, admin: Site, made: list[Manifest]) -> None:
    page = ada.post(address("pin"), {"name": made[0].name, "why": "the audit"}, follow=True)
    assert messages_of(page) == ["Pinned: the audit"]
    assert "by ada" in page.text
    assert "the audit" in page.text
    refused = ada.post(address("delete"), {"name": made[0].name, "typed": made[0].name}, follow=True)
    assert "it is pinned" in messages_of(refused)[0]
    ada.post(address("unpin"), {"name": made[0].name})
    ada.post(address("delete"), {"name": made[0].name, "typed": made[0].name})
    assert made[0].key not in admin.stored()
    assert [message for _, _, message in log_entries()] == ["Pinned: the audit", "The pin was taken away", "Deleted."]


def test_nothing_is_deleted_before_its_name_is_typed(ada: Any, admin: Site, made: list[Manifest]) -> None:
    before = admin.stored()
    for typed in ("", "default", made[0].name.upper(), made[1].name):
        page = ada.post(address("delete"), {"name": made[0].name, "typed": typed}, follow=True)
        assert messages_of(page) == [f"Not done: To go on, type {made[0].name} exactly as it is written."]
    assert (admin.stored(), log_entries()) == (before, [])


def test_the_newest_backup_is_not_deleted(ada: Any, admin: Site, made: list[Manifest]) -> None:
    page = ada.post(address("delete"), {"name": made[1].name, "typed": made[1].name}, follow=True)
    assert "it is the newest backup of tests/test/default" in messages_of(page)[0]
    assert made[1].key in admin.stored()


def test_a_restore_is_chosen_by_the_time_that_is_shown_and_names_what_it_lacks(ada: Any, admin: Site) -> None:
    admin.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
    backup = admin.create()
    shown = backup.started_at.astimezone(current_project().zone)
    for earlier, is_listed in ((0, True), (1, False)):
        at = f"{shown - timedelta(seconds=earlier):%Y-%m-%dT%H:%M:%S}"
        assert (backup.name in ada.get(address("restore"), {"at": at}).text) is is_listed
    assert "It holds no rows of book" in ada.get(address("restore"), {"backup": backup.name}).text


def test_a_restore_and_its_undo_need_the_name_and_the_password(ada: Any, admin: Site, made: list[Manifest]) -> None:
    admin.sql("DELETE FROM book WHERE id > 3")
    choice = {"backup": made[0].name, "to": "default"}
    wrong = [
        ({"typed": "", "password": PASSWORD}, f"Not done: To go on, type {NAME} exactly as it is written."),
        ({"typed": NAME, "password": "guess"}, "Not done: The password is not yours."),
        ({"typed": NAME}, "Not done: The password is not yours."),
    ]
    for values, said in wrong:
        page = ada.post(address("restore"), {**choice, **values}, follow=True)
        assert messages_of(page) == [said]
    assert not Run.objects.filter(kind="restore").exists()
    asked = ada.post(address("restore"), {**choice, "typed": NAME, "password": PASSWORD})
    perform_waiting()
    assert admin.sql("SELECT count(*) FROM book") == [(200,)]
    assert last_run("restore") == ("succeeded", "ada")
    done = ada.get(asked.url)
    assert "Undo this restore" in done.text
    old_data = Run.objects.filter(kind="restore").latest("pk").old_data
    ada.force_login(ada_again := make_or_find("ada"))  # the restored database knows neither the user nor the session
    target = {"database": "default", "old_data": old_data}
    refused = ada.post(address("undo"), {**target, "typed": NAME, "password": "guess"}, follow=True)
    assert messages_of(refused) == ["Not done: The password is not yours."]
    ada.post(address("undo"), {**target, "typed": NAME, "password": PASSWORD})
    perform_waiting()
    assert admin.sql("SELECT count(*) FROM book") == [(3,)]
    assert ada_again.username == "ada"


def make_or_find(name: str) -> Any:
    from django.contrib.auth.models import User

    return User.objects.filter(username=name).first() or make_user(name, is_superuser=True)


def test_a_user_without_a_password_is_sent_to_the_command(ada: Any, admin: Site, made: list[Manifest]) -> None:
    user = make_user("sso", is_superuser=True)
    user.set_unusable_password()
    user.save()
    client = client_of(user)
    for name, values in {
        "restore": {"backup": made[0].name, "typed": NAME},
        "download": {"name": made[0].name},
        "undo": {"database": "default", "typed": NAME},
    }.items():
        page = client.post(address(name), {**values, "password": ""}, follow=True)
        assert "Your account has no password" in messages_of(page)[0]
    assert not Run.objects.filter(kind="restore").exists()
    assert log_entries() == []


@pytest.mark.parametrize(("form", "suffix"), [("stored", ".sqlite3.gz"), ("plain", ".sqlite3")])
def test_a_download_is_the_bytes(ada: Any, admin: Site, made: list[Manifest], form: str, suffix: str) -> None:
    archive = made[0].archive
    answer = ada.post(address("download"), {"name": made[0].name, "form": form, "password": PASSWORD})
    content = answer.getvalue()
    expected = (archive.sha256, archive.size) if form == "stored" else (archive.raw_sha256, archive.raw_size)
    assert (hashlib.sha256(content).hexdigest(), len(content)) == expected
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{made[0].name}{suffix}"'
    assert answer.headers["Content-Length"] == str(len(content))
    assert [entry[:2] for entry in log_entries()] == [("ada", made[0].name)]


def test_a_backup_of_several_archives_is_shown_with_all_of_them(ada: Any, admin: Site, made: list[Manifest]) -> None:
    """One file cannot hold them: the page names the command that downloads all."""
    old, rows = made[0], b"rows" * 1_000_000
    facts = {"key": f"{old.name}.rows1.sqlite3.gz", "size": len(rows), "raw_size": 7_000_000}
    more = old.archive.model_copy(update={**facts, "sha256": hashlib.sha256(rows).hexdigest()})
    manifest = old.model_copy(update={"row_archives": (more,)})
    (admin.backups / more.key).write_bytes(rows)
    (admin.backups / old.key).write_bytes(manifest.to_json())
    page = ada.get(address("backup"), {"name": old.name}).text
    for shown in (*manifest.archive_keys, more.sha256, megabytes(manifest.size), megabytes(manifest.raw_size)):
        assert shown in page
    assert megabytes(manifest.size) in ada.get(address("backups")).text
    refused = ada.post(address("download"), {"name": old.name, "password": PASSWORD}, follow=True)
    assert f"manage.py backup_download {old.name}" in messages_of(refused)[0]


@pytest.mark.parametrize(
    ("form", "said"), [("stored", "are not those of its manifest"), ("plain", "cut short or damaged")]
)
def test_a_download_of_changed_bytes_is_refused(
    ada: Any, admin: Site, made: list[Manifest], form: str, said: str
) -> None:
    path = admin.backups / made[0].archive_key
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    page = ada.post(address("download"), {"name": made[0].name, "form": form, "password": PASSWORD}, follow=True)
    assert said in messages_of(page)[0]
    assert log_entries() == []


@pytest.mark.parametrize(("form", "digest"), [("stored", "sha256"), ("plain", "raw_sha256")])
def test_a_download_that_ends_with_other_bytes_ends_before_its_length(
    ada: Any, admin: Site, made: list[Manifest], monkeypatch: pytest.MonkeyPatch, form: str, digest: str
) -> None:
    """Only the end of the archive shows it; the browser must not take what has come for the file."""
    monkeypatch.setattr(stream, "BLOCK", 1024)  # several blocks
    path = admin.backups / made[0].key
    path.write_text(path.read_text().replace(getattr(made[0].archive, digest), 64 * "0"))
    answer = ada.post(address("download"), {"name": made[0].name, "form": form, "password": PASSWORD})
    came: list[bytes] = []
    with pytest.raises(VerificationFailed, match="are not those of its manifest"):
        came.extend(answer.streaming_content)
    assert 0 < len(b"".join(came)) < int(answer["Content-Length"])


def test_pages_that_are_switched_off_do_not_exist(ada: Any, admin: Site, made: list[Manifest]) -> None:
    admin.configure(web_restore=False, web_download=False)
    name = made[0].name
    for page, values in {
        "restore": {"backup": name},
        "download": {"name": name},
        "undo": {"database": "default"},
    }.items():
        assert ada.get(address(page), values).status_code == 404
        assert ada.post(address(page), {**values, "typed": NAME, "password": PASSWORD}).status_code == 404
    for page, values in {"overview": {}, "backups": {}, "backup": {"name": name}, "runs": {}, "retention": {}}.items():
        text = ada.get(address(page), values).text
        assert address("restore") not in text
        assert address("download") not in text


def test_unknown_names_are_not_found(ada: Any, admin: Site, made: list[Manifest]) -> None:
    """Nor is a beginning of a name, which the commands take."""
    for name in ("no-such-backup", "default", "", "../db", "%2e", "a'b", "\0"):
        for page in ("backup", "download", "delete"):
            assert ada.get(address(page), {"name": name}).status_code == 404, (page, name)
        for page in ("verify", "drill", "pin", "unpin"):
            assert ada.post(address(page), {"name": name}).status_code == 404, (page, name)
    assert ada.get(address("restore"), {"backup": "no-such-backup"}).status_code == 404
    nope = {"database": "nope"}
    for page, values in {"overview": nope, "undo": nope, "restore": {"backup": made[0].name, "to": "nope"}}.items():
        assert ada.get(address(page), values).status_code == 404, page
    assert ada.post(address("create"), {"database": "nope"}).status_code == 404
    for number in ("nope", "-1", "9" * 30, ""):
        assert ada.post(address("cancel"), {"run": number}).status_code == 404
    assert ada.get(address("job", "nope")).status_code == 404
    assert log_entries() == []


def test_a_backup_of_another_project_is_left_alone(ada: Any, admin: Site, made: list[Manifest]) -> None:
    """A storage may be shared: its backups are shown, and may only be restored."""
    admin.configure(project="another")
    before = admin.stored()
    name = made[0].name
    assert ada.get(address("backup"), {"name": name}).status_code == 200
    for page in ("verify", "drill", "pin", "unpin", "delete", "download"):
        form = {"name": name, "typed": name, "password": PASSWORD}
        assert ada.post(address(page), form).status_code == 404, page
    assert ada.get(address("delete"), {"name": name}).status_code == 404
    (admin.backups / made[0].archive_key).unlink()
    assert ada.post(address("delete"), {"name": name, "typed": name}).status_code == 404, "damaged"
    assert set(before) - set(admin.stored()) == {made[0].archive_key}


def test_a_job_that_waits_can_be_cancelled(ada: Any, admin: Site) -> None:
    asked = ada.post(address("create"))
    number = asked.url.rstrip("/").rpartition("/")[2]
    assert address("cancel_job", number) in ada.get(asked.url).text
    assert "Cancel it" in ada.get(address("cancel_job", number)).text
    ada.post(address("cancel_job", number))
    assert FileBoard(number).cancelled_by() == "ada"


def test_a_prune_deletes_what_was_shown(ada: Any, admin: Site) -> None:
    made = daily(3)
    put(*made)
    admin.configure(retention={"keep_daily": 1, "keep_weekly": 0, "keep_monthly": 0})
    page = ada.get(address("retention")).text
    assert re.findall(r'name="due" value="(.*?)"', page) == [made[1].name, made[2].name]
    ada.post(address("prune"), {"due": made[1].name})
    perform_waiting()
    assert backups(admin) == {made[0].name, made[2].name}
    assert last_run("prune") == ("succeeded", "ada")


def test_the_page_of_a_job_needs_no_database(ada: Any, admin: Site) -> None:
    """A restore may be replacing it. The browser that has asked for the job sees it, and no other one."""
    asked = ada.post(address("create"))
    present = settings.DATABASES["default"]
    away = {**present, "NAME": str(admin.root / "away" / "db.sqlite3"), "ATOMIC_REQUESTS": True}
    admin.use_databases(default=away)
    stranger = client_of(None)
    try:
        assert "Waiting: it runs with the next tick." in ada.get(asked.url).text
        assert ada.get(f"{asked.url}state/").json()["phase"] == "waiting"
        with pytest.raises(OperationalError):
            ada.get(address("overview"))
    finally:
        admin.use_databases(default=present)
    assert stranger.get(asked.url).status_code == 302
    stranger.cookies.load({key: "forged:value" for key in ada.cookies if key.startswith("backup_job_")})
    assert stranger.get(asked.url).status_code == 302
    second = ada.post(address("create")).url
    one, another = (ada.cookies[f"backup_job_{page.split('/')[-2]}"].value for page in (asked.url, second))
    stranger.cookies.load({f"backup_job_{second.split('/')[-2]}": one})
    assert stranger.get(second).status_code == 302, "it is signed for another job"
    stranger.cookies.load({f"backup_job_{second.split('/')[-2]}": another})
    assert stranger.get(second).status_code == 200
