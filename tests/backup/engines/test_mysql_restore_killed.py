"""kill -9 at any moment of a restore: the database is all old or all new, at once or after --resume."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from django_cfg.backup import restore_backup
from tests.support.mysql_databases import MySQLServer
from tests.support.mysql_trial import FILL, Trial, killing_itself, resume

# It names the schema before the tables: a process that waits until the killed one has left shall not see it there.
READER = """
import json, os, sys, pymysql
database, port, password, stop = sys.argv[1:]
seen = set()
connection = pymysql.connect(host="127.0.0.1", port=int(port), user="root", password=password, autocommit=True)
with connection, connection.cursor() as cursor:
    while not os.path.exists(stop):
        try:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            found = []
            for table in ("era", "second"):
                cursor.execute(f"SELECT name FROM {database}.{table}")
                found += [name for (name,) in cursor.fetchall()] or ["nothing"]
            seen.add(tuple(found))
        except pymysql.Error as error:
            assert error.args[0] in (1213, 1412), error
        finally:
            cursor.execute("ROLLBACK")
print(json.dumps(sorted(seen)))
"""


def test_killed_at_its_weakest_moments(trial: Trial) -> None:
    """At some statements of the switch and some moments of the entire restore, chosen by chance."""
    for number in random.sample(range(10, 70), 3):
        trial.kill(killing_itself(restore_backup, number))
        trial.look()
    trial.kill(restore_backup, random.uniform(0.05, 1.5))
    trial.look()
    trial.finish()


ERAS = ("era", "second")


def test_a_reader_sees_no_mixture_whatever_is_killed(mysql_server: MySQLServer, tmp_path: Path) -> None:
    """Who asks two tables, one after the other in one snapshot, gets both old or both new, or an error: never one of
    each, and never an empty one."""
    mysql_server.script(FILL + "".join(f"CREATE TABLE {name} AS SELECT 'new' AS name;" for name in ERAS))
    trial = Trial(mysql_server)
    become_old = f"UPDATE {', '.join(ERAS)} SET {', '.join(f'{name}.name = 1' for name in ERAS)}".replace("1", "'old'")
    mysql_server.run(become_old)
    with reading(mysql_server, tmp_path) as seen:
        for before in ("RENAME TABLE", "ALTER DATABASE", random.randrange(10, 70), 10_000):
            trial.kill(killing_itself(restore_backup, before))
            if trial.is_unfinished():
                resume()
            time.sleep(0.2)  # the reader passes by
            mysql_server.run(become_old)
    assert seen == {("old", "old"), ("new", "new")}


@contextmanager
def reading(server: MySQLServer, folder: Path) -> Iterator[set[tuple[str, str]]]:
    """A block during which a process of its own reads; what it saw is there when it has ended."""
    seen: set[tuple[str, str]] = set()
    where = [server.databases["default"], str(server.server.port), server.server.PASSWORD, str(folder / "stop")]
    process = subprocess.Popen([sys.executable, "-c", READER, *where], stdout=subprocess.PIPE, text=True)
    try:
        yield seen
    finally:
        (folder / "stop").touch()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    seen.update((first, second) for first, second in json.loads(output))


@pytest.mark.long
def test_killed_before_every_statement_of_the_switch(trial: Trial) -> None:
    for number in itertools.count(1):
        trial.kill(killing_itself(restore_backup, number))
        if trial.look() == "new" and trial.ends[-2:] == ["new", "new"]:
            break
    assert trial.ends.count("resumed") > 20
    trial.finish()


@pytest.mark.long
def test_killed_at_fifty_random_moments(trial: Trial) -> None:
    started = time.monotonic()
    trial.kill(restore_backup)
    length = time.monotonic() - started
    assert trial.look() == "new"
    for _ in range(50):
        trial.kill(restore_backup, random.uniform(0, length))
        trial.look()
    assert "old" in trial.ends
    trial.finish()


def test_a_resume_may_be_killed_too(trial: Trial) -> None:
    """And resumed again."""
    trial.kill(killing_itself(restore_backup, random.randrange(20, 40)))
    trial.kill(killing_itself(resume, random.randrange(1, 20)))
    trial.look()
    trial.finish()
