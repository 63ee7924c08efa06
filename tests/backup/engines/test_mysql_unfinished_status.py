"""What backup_status says of a restore that was killed in its switch: words, exit code and JSON."""

from __future__ import annotations

import pytest

from django_cfg.backup import restore_backup
from tests.support.mysql_trial import Trial, killing_itself

COMMAND = "manage.py backup_restore --resume --to default"


@pytest.mark.parametrize("before", ["RENAME TABLE", "ALTER DATABASE"], ids=["tables not moved", "tables moved"])
def test_its_source_is_unhealthy_and_the_command_is_named(trial: Trial, before: str) -> None:
    site = trial.server.site
    site.configure(databases=[{"alias": "empty", "enabled": False}], schedule={"enabled": False})
    trial.kill(killing_itself(restore_backup, before))
    answer = site.call("backup_status")
    assert answer.code == 4
    assert answer.stdout.splitlines()[1].endswith("UNHEALTHY")
    assert answer.stderr.count(COMMAND) == 1
    document = site.call("backup_status", "--json").json
    (source,) = document["sources"]
    assert (document["healthy"], source["healthy"], source["database"]) == (False, False, "default")
    assert [COMMAND in problem for problem in source["problems"]] == [True]
    assert "a restore was interrupted while it switched" in source["problems"][0]
    assert trial.look() == "resumed"
    assert site.call("backup_status").code == 0
    assert site.call("backup_status", "--json").json["sources"][0]["problems"] == []


def test_of_a_database_that_is_not_backed_up_it_is_said_too(trial: Trial) -> None:
    site = trial.server.site
    trial.kill(killing_itself(restore_backup, "RENAME TABLE"))
    not_backed_up = [{"alias": alias, "enabled": False} for alias in ("default", "empty")]
    site.configure(databases=not_backed_up, schedule={"enabled": False})
    answer = site.call("backup_status", "--json")
    assert (answer.code, answer.json["healthy"]) == (4, False)
    assert "default: a restore was interrupted" in answer.stderr
    assert [COMMAND in kept["problem"] for kept in answer.json["old_data"]] == [True]
