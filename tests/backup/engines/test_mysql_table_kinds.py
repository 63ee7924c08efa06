"""Tables of which the programs do not write everything: the backup is made, and says what it does not hold."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql import dump
from tests.support.databases import fail_unless_equal, rows
from tests.support.mysql_databases import MySQLServer

PRECISE = (
    "CREATE TABLE acct (id int PRIMARY KEY, v int, s bigint unsigned GENERATED ALWAYS AS ROW START, "
    "e bigint unsigned GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING",
    "INSERT INTO acct (id, v) VALUES (1, 1)",
    "CREATE TABLE timed (id int PRIMARY KEY, v int) WITH SYSTEM VERSIONING",
    "INSERT INTO timed VALUES (1, 1)",
)


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


def warnings_of_check(server: MySQLServer) -> list[str]:
    return [line["text"] for line in server.site.call("backup_check", "--json").json if line["level"] == "WARNING"]


def test_a_history_of_transactions(server: MySQLServer, caplog: pytest.LogCaptureFixture) -> None:
    server.run(*PRECISE)
    server.run("UPDATE acct SET v = 2", "UPDATE timed SET v = 2")
    assert any("history of acct, timed is left out: acct keeps it" in text for text in warnings_of_check(server))
    manifest = create_backup()
    assert "The history of acct, timed is left out: acct keeps it by the numbers of transactions" in caplog.text
    assert (rows(manifest)["acct"], rows(manifest)["timed"]) == (1, 1)
    restore_backup(to="empty")
    assert server.run("SELECT id, v FROM acct", alias="empty") == [(1, 2)]
    assert server.run("SELECT id, v FROM timed", alias="empty") == [(1, 2)]
    server.run("UPDATE acct SET v = 3", alias="empty")
    assert server.run("SELECT COUNT(*) FROM acct FOR SYSTEM_TIME ALL", alias="empty") == [(2,)]


def test_a_history_of_transactions_that_is_excluded(server: MySQLServer) -> None:
    """The program looks at the definition alone."""
    server.run(*PRECISE)
    server.run("UPDATE timed SET v = 2")
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["acct"]}])
    assert any("history of timed is left out: acct keeps it" in text for text in warnings_of_check(server))
    assert rows(create_backup())["timed"] == 1
    server.run("DROP TABLE timed")
    assert not any("history" in text for text in warnings_of_check(server))
    assert rows(create_backup())["acct"] == 0


def test_numbers_that_a_restore_rounds(server: MySQLServer, caplog: pytest.LogCaptureFixture) -> None:
    server.run(
        "CREATE TABLE measured (id int PRIMARY KEY, x float, y double, z float AS (y) VIRTUAL, fixed float(10, 1))",
        "INSERT INTO measured (id, x, y, fixed) VALUES (1, 16777215, 16777215, 1677721.5)",
    )
    expected = "measured.x: the server prints six digits of a FLOAT, so a restore rounds what has more"
    assert [text.startswith(expected) for text in warnings_of_check(server) if "FLOAT" in text] == [True]
    create_backup()
    assert expected in caplog.text
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["measured"]}])
    assert not any("FLOAT" in text for text in warnings_of_check(server))
    restore_backup(to="empty")
    found = server.run("SELECT x + 0e0, y, fixed + 0e0 FROM measured", alias="empty")
    assert found == [(16777200.0, 16777215.0, 1677721.5)]


def test_tables_that_show_rows_of_others(server: MySQLServer, caplog: pytest.LogCaptureFixture) -> None:
    server.run(
        *(f"CREATE TABLE log_{n} (i int) ENGINE=MyISAM" for n in (1, 2)),
        "INSERT INTO log_1 VALUES (1)",
        "INSERT INTO log_2 VALUES (2), (3)",
        "CREATE TABLE log_all (i int) ENGINE=MERGE UNION=(log_1, log_2)",
    )
    before = server.text()
    assert any(text.startswith("log_all (MRG_MyISAM): only the definition") for text in warnings_of_check(server))
    manifest = create_backup()
    assert [table.exact for table in manifest.tables if table.name == "log_all"] == [True]
    assert "rows were written while the dump began" not in caplog.text
    assert "log_all (MRG_MyISAM): no snapshot" not in caplog.text
    for target in ("default", "empty"):
        restore_backup(to=target)
        fail_unless_equal(before, server.text(target))
        assert server.count("log_all", target) == 3


def test_a_table_of_another_server_that_is_gone(own_mysql_server: MySQLServer) -> None:
    server = own_mysql_server
    server.server.sql("INSTALL SONAME 'ha_federatedx'")
    try:
        remote = f"mysql://root:{server.server.PASSWORD}@127.0.0.1:{server.server.port}/{server.databases['empty']}/r"
        server.run("CREATE TABLE r (i int)", "INSERT INTO r VALUES (1)", alias="empty")
        server.run(f"CREATE TABLE far (i int) ENGINE=FEDERATED CONNECTION='{remote}'")
        server.run("DROP TABLE r", alias="empty")
        manifest = create_backup()
        assert rows(manifest)["far"] == 0
        server.run("CREATE TABLE r (i int)", alias="empty")
        restore_backup(manifest.name)
        assert server.count("far") == 0
    finally:
        server.run("DROP TABLE far")
        for name in server.schemas():
            server.server.sql(f"DROP DATABASE `{name}`")
        server.server.sql("UNINSTALL SONAME 'ha_federatedx'")


def test_a_program_without_history(server: MySQLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.run(PRECISE[2])
    monkeypatch.setattr(dump.Tool, "has_option", lambda tool, option: option != "--dump-history")
    assert any(text.endswith("leaves out the history of timed.") for text in warnings_of_check(server))
