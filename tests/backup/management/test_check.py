"""backup_check: everything that a backup needs is tried."""

from __future__ import annotations

import grp
import os
import pwd
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django
import pytest

from django_cfg.backup.errors import StorageError
from django_cfg.backup.storage.local import LocalStorage
from tests.support.django_project import Site
from tests.support.notification_servers import load_apprise

pytestmark = pytest.mark.usefixtures("notified")


def levels(site: Site) -> dict[str, str]:
    """The worst level of each subject."""
    found: dict[str, str] = {}
    for finding in site.call("backup_check", "--json").json:
        found[finding["subject"]] = max(found.get(finding["subject"], ""), finding["level"], key=_badness)
    return found


def _badness(level: str) -> int:
    return ["", "OK", "WARNING", "FAILED"].index(level)


def test_a_healthy_project_passes_and_nothing_is_left_behind(site: Site) -> None:
    answer = site.call("backup_check")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.stdout.splitlines()] == ["OK"] * 6
    assert site.stored() == []


def test_each_line_names_its_subject(site: Site) -> None:
    assert levels(site) == {
        "settings": "OK",
        "storage": "OK",
        "clock": "OK",
        "space": "OK",
        "notify": "OK",
        "default": "OK",
    }


def test_a_missing_database_fails_and_the_rest_is_still_checked(site: Site) -> None:
    site.database.unlink()
    answer = site.call("backup_check")
    assert answer.code == 1
    assert "FAILED   default: The database 'default' is missing" in answer.stdout
    assert "OK       storage" in answer.stdout
    assert not site.database.exists()


def test_a_misspelt_table_fails(site: Site) -> None:
    site.configure(databases=[{"alias": "default", "exclude_tables": ["django_sesion"]}])
    answer = site.call("backup_check")
    assert answer.code == 1
    assert "'django_sesion'" in answer.stdout


def test_a_storage_that_cannot_be_written_fails(site: Site) -> None:
    site.backups.write_text("a file where the folder should be")
    answer = site.call("backup_check")
    assert answer.code == 1
    assert "FAILED   storage" in answer.stdout


def test_a_storage_that_gives_back_something_else_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStorage, "read", lambda storage, key: b"something else")
    answer = site.call("backup_check")
    assert answer.code == 1
    assert f"{site.backups} did not give back what was written there. Do not rely on it." in answer.stdout
    assert site.stored() == []


def test_a_place_that_is_away_fails_alone(site: Site) -> None:
    offsite = site.root / "offsite"
    offsite.write_text("a file where the folder should be")
    site.configure(copies=[{"name": "offsite", "storage": {"local_path": str(offsite)}}])
    answer = site.call("backup_check")
    assert answer.code == 1
    assert re.findall("FAILED +(.*?):", answer.stdout) == ["offsite"]
    assert "OK       main: " in answer.stdout


def test_a_storage_that_does_not_say_whether_it_locks_is_no_failure(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key may not ask."""

    def refuse(storage: LocalStorage) -> None:
        raise StorageError("access was denied")

    monkeypatch.setattr(LocalStorage, "immutability", refuse)
    answer = site.call("backup_check")
    assert answer.code == 0
    said = "object lock: whether the bucket keeps versions or locks objects is not known: access was denied"
    assert said in answer.stdout


def test_switched_off_backups_fail(site: Site) -> None:
    site.configure(enabled=False)
    assert levels(site)["settings"] == "FAILED"


def test_a_backup_from_the_future_is_a_warning(site: Site) -> None:
    manifest = site.create()
    path = site.backups / manifest.key
    later = datetime.now(UTC) + timedelta(hours=1)
    started = manifest.model_dump(mode="json")["started_at"]
    path.write_text(path.read_text().replace(started, later.strftime("%Y-%m-%dT%H:%M:%SZ")))
    answer = site.call("backup_check")
    assert answer.code == 4
    assert f"WARNING  clock: {manifest.name} is dated in the future" in answer.stdout


def test_a_clock_that_differs_from_the_storages_is_a_warning(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    write = LocalStorage.write

    def write_as_of_yesterday(self: LocalStorage, key: str, data: bytes) -> None:
        write(self, key, data)
        os.utime(self.root / key, (0, datetime.now(UTC).timestamp() - 86_400))

    monkeypatch.setattr(LocalStorage, "write", write_as_of_yesterday)
    assert levels(site)["clock"] == "WARNING"


def test_too_little_space_for_one_more_backup_is_a_warning(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.create()
    monkeypatch.setattr(LocalStorage, "free_space", lambda self: 100)
    assert levels(site)["space"] == "WARNING"


def test_a_damaged_backup_is_a_warning(site: Site) -> None:
    manifest = site.create()
    Path(site.backups, manifest.archive_key).unlink()
    assert levels(site)["storage"] == "WARNING"


def test_a_drill_is_recommended_until_the_first_one(site: Site) -> None:
    site.create()
    answer = site.call("backup_check")
    assert answer.code == 0
    assert (
        "OK       drill: no stored backup of 'default' was ever restored: backup_verify latest --drill" in answer.stdout
    )
    site.call("backup_verify", "latest", "--drill")
    assert "drill" not in levels(site)


def some_member(membership: str) -> tuple[grp.struct_group, str]:
    """A group of this machine and the one account, not root, that is in it: since it is its own, or as a member."""
    accounts = pwd.getpwall()
    for group in grp.getgrall():
        primary = {account.pw_name for account in accounts if account.pw_gid == group.gr_gid}
        members = primary | set(group.gr_mem)
        if len(members) == 1 and "root" not in members and bool(primary) == (membership == "primary"):
            return group, members.pop()
    pytest.skip(f"no group of this machine has one {membership} member")


class TestFolder:
    """Another user who may write into it can replace backups, and with them what a restore runs."""

    def test_a_folder_that_every_user_may_write_into_is_a_warning(self, site: Site) -> None:
        site.create()
        assert levels(site)["storage"] == "OK"
        site.backups.chmod(0o777)
        answer = site.call("backup_check")
        assert answer.code == 4
        assert f"WARNING  storage: Every user of this machine may write into {site.backups}" in answer.stdout
        assert "django_cfg_backup.W022" in site.call("check").stderr
        site.backups.chmod(0o750)
        assert levels(site)["storage"] == "OK"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    @pytest.mark.parametrize(("user", "name"), [(65534, "nobody"), (54321, "54321")])
    def test_a_folder_of_another_user_is_a_warning(self, site: Site, user: int, name: str) -> None:
        site.create()
        os.chown(site.backups, user, -1)
        answer = site.call("backup_check")
        assert answer.code == 4
        assert f"{site.backups}, where backups are kept, belongs to the user {name}" in answer.stdout
        assert "django_cfg_backup.W023" in site.call("check").stderr

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to any group")
    @pytest.mark.parametrize("membership", ["primary", "supplementary"])
    def test_one_of_a_group_with_other_members(self, site: Site, membership: str) -> None:
        group, member = some_member(membership)
        site.create()
        os.chown(site.backups, -1, group.gr_gid)
        site.backups.chmod(0o750)
        assert "W024" not in site.call("check").stderr
        site.backups.chmod(0o770)
        answer = site.call("backup_check")
        assert answer.code == 4
        line = f"WARNING  storage: The members of the group {group.gr_name} may write into {site.backups}"
        assert line in answer.stdout
        assert member in answer.stdout
        assert "django_cfg_backup.W024" in site.call("check").stderr

    def test_one_of_a_group_without_other_members(self, site: Site) -> None:
        """A private group, as most systems give each user."""
        site.create()
        site.backups.chmod(0o770)
        assert levels(site)["storage"] == "OK"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_one_of_the_private_group_of_its_owner(self, site: Site) -> None:
        group, member = some_member("primary")
        site.create()
        os.chown(site.backups, pwd.getpwnam(member).pw_uid, group.gr_gid)
        site.backups.chmod(0o770)
        assert "W024" not in site.call("check").stderr

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_one_of_a_group_without_a_name(self, site: Site) -> None:
        """As in containers."""
        site.create()
        os.chown(site.backups, -1, 54321)
        site.backups.chmod(0o770)
        assert levels(site)["storage"] == "OK"

    def test_a_folder_that_does_not_exist_yet_is_ok(self, site: Site) -> None:
        assert "W02" not in site.call("check").stderr


class TestNotify:
    """The recipients of failure messages are checked without sending anything."""

    @pytest.fixture(autouse=True)
    def _apprise_is_loaded(self) -> None:
        load_apprise()

    def notify(self, site: Site) -> list[tuple[str, str]]:
        lines = site.call("backup_check", "--json").json
        return [(line["level"], line["text"]) for line in lines if line["subject"] == "notify"]

    def test_no_recipient_is_a_warning(self, site: Site) -> None:
        site.set(ADMINS=[])
        ((level, text),) = self.notify(site)
        assert level == "WARNING"
        assert text.startswith("no failure is reported to anybody: set ADMINS and a mail server, notify_urls or")
        assert site.call("backup_check").code == 4

    def test_admins_are_recipients(self, site: Site) -> None:
        site.configure(notify_urls=["json://127.0.0.1"], heartbeat_url="http://127.0.0.1/SECRET")
        text = "failures are reported by mail to ADMINS, notify_urls[1] (json), heartbeat_url"
        assert self.notify(site) == [("OK", text)]

    def test_a_heartbeat_alone_is_enough(self, site: Site) -> None:
        site.set(ADMINS=[])
        site.configure(heartbeat_url="http://127.0.0.1/")
        assert self.notify(site) == [("OK", "failures are reported by heartbeat_url")]

    def test_notifications_that_are_switched_off_are_ok(self, site: Site) -> None:
        site.set(ADMINS=[])
        site.configure(notify_on_failure=False)
        assert self.notify(site) == []

    def test_a_url_that_apprise_does_not_know_is_a_warning(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        site.configure(notify_urls=["json://127.0.0.1", "slak://T0KEN/x"])
        (level, text), _ = self.notify(site)
        assert (level, text.partition(":")[0]) == ("WARNING", "notify_urls[2] (slak) cannot be used")
        answer = site.call("check")
        assert "django_cfg_backup.W013" in answer.stderr
        assert "T0KEN" not in answer.stderr + caplog.text

    @pytest.mark.skipif(django.VERSION >= (6, 0), reason="Django takes plain addresses since 6.0")
    def test_admins_in_the_form_of_a_later_django_are_recipients(self, site: Site) -> None:
        site.set(ADMINS=["ops@example.org"])
        (level, text), _ = self.notify(site)
        assert (level, text.partition(",")[0]) == (
            "WARNING",
            "settings.ADMINS holds something else than pairs of name and address",
        )
        assert "django_cfg_backup.W013" in site.call("check").stderr
