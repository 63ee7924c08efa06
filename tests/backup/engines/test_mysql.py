"""The MySQL engine keeps the contract, on a MariaDB server."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup
from django_cfg.backup.models import Run
from django_cfg.backup.services.restore.restore import RestoreRequest, plan_restore
from tests.backup.engines.engine_contract import EngineContract
from tests.backup.engines.restore_contract import RestoreContract
from tests.support.mysql_databases import MySQLServer


class TestMySQL(EngineContract):
    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> MySQLServer:
        return mysql_server


class TestRestore(RestoreContract):
    @pytest.fixture
    def server(self, mysql_server: MySQLServer) -> MySQLServer:
        return mysql_server


class TestRestoreInPlace(TestRestore):
    """It is not atomic there: the backup that is made first is the way back."""

    is_variant = True
    options = {"in_place": True}
    uses_staging = False
    leaves_old_data = False


@pytest.mark.parametrize("in_place", [False, True])
def test_a_restore_is_recorded(mysql_server: MySQLServer, in_place: bool) -> None:
    """In the database that is restored itself: how the restore ended, and where the old data is."""
    site = mysql_server.site
    site.call("migrate", verbosity=0)
    manifest = create_backup()
    assert plan_restore(RestoreRequest()).holds_history
    assert site.call("backup_restore", "--yes", *(["--in-place"] if in_place else [])).code == 0
    (run,) = Run.objects.filter(kind="restore")
    assert (run.state, run.name, run.database) == ("succeeded", manifest.name, "default")
    assert bool(run.old_data) == (not in_place)
