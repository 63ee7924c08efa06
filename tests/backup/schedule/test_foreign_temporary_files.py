"""Files of another user in the temporary folder are not used, even if they have the expected names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from django_cfg.backup.services.monitoring.incidents import Incident
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.runs import file_lock
from tests.support.django_project import Site
from tests.support.notification_servers import Mailbox
from tests.support.unprivileged import UNPRIVILEGED_UID

pytestmark = pytest.mark.usefixtures("apprise_is_loaded")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


def _of_another_user(path: Path) -> None:
    path.chmod(0o777)
    os.chown(path, UNPRIVILEGED_UID, UNPRIVILEGED_UID)


def _writable_by_all(path: Path) -> None:
    path.chmod(0o777)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


STRANGE = [pytest.param(_of_another_user, marks=needs_root), _writable_by_all, _link]


@pytest.fixture
def temporary() -> Path:
    """Return the test's own folder for temporary files."""
    return Path(tempfile.gettempdir())


def fail_to_back_up(site: Site) -> None:
    assert site.call("backup_create").code == 1


@pytest.fixture
def broken(site: Site, books: Path, tmp_path: Path) -> Site:
    """A project whose storage is unusable, so that marks of incidents are kept on this machine."""
    (tmp_path / "file").touch()
    site.configure(storage={"local_path": str(tmp_path / "file")})
    return site


def test_a_mark_of_this_user_counts(broken: Site, temporary: Path, mailbox: Mailbox) -> None:
    fail_to_back_up(broken)
    fail_to_back_up(broken)
    assert len(mailbox.subjects()) == 1


@pytest.mark.parametrize("make_strange", STRANGE)
def test_a_mark_of_another_user_suppresses_no_message(
    broken: Site, temporary: Path, mailbox: Mailbox, make_strange: Callable[[Path], None]
) -> None:
    fail_to_back_up(broken)
    (folder,) = temporary.glob("django-cfg-incidents-*")
    before = sorted(path.name for path in folder.rglob("*"))
    make_strange(folder)
    fail_to_back_up(broken)
    assert len(mailbox.subjects()) == 2
    assert sorted(path.name for path in folder.rglob("*")) == before, "nothing was written there"


def test_the_end_of_an_incident_needs_no_folder_for_marks(site: Site, books: Path, temporary: Path) -> None:
    Incident(current_project(), "backup", "default").end()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("make_strange", STRANGE[:2])
def test_a_lock_of_another_user_stops_no_backup(
    site: Site, books: Path, temporary: Path, make_strange: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """With it that user could stop every backup."""
    project = current_project()
    path = file_lock._path(project, project.source("default"), "backup")
    path.touch()
    make_strange(path)
    with path.open("rb") as held:
        file_lock.fcntl.flock(held, file_lock.fcntl.LOCK_EX)
        assert site.call("backup_create").code == 0
    assert "Only the history keeps a second one out" in caplog.text
