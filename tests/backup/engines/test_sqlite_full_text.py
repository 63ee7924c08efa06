"""Full-text tables that index the rows of another table: the index goes with the rows, whatever is left out."""

from __future__ import annotations

import gzip

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import UsageError
from tests.support.django_project import Site
from tests.support.sqlite_databases import SQLiteServer

CONTENT = [
    pytest.param("fts5 (body, content='article', content_rowid='rowid')", id="fts5"),
    pytest.param('FTS5 (body, content = "Article")', id="fts5, quoted"),
    pytest.param("fts5 (content=article, body, tokenize='porter unicode61')", id="fts5, first"),
    pytest.param('fts4 (body, content="article")', id="fts4"),
]


@pytest.fixture(params=["delete", "wal"])
def server(site: Site, request: pytest.FixtureRequest) -> SQLiteServer:
    return SQLiteServer(site, request.param)


def make(server: SQLiteServer, definition: str) -> None:
    server.run(
        "CREATE TABLE article (id text PRIMARY KEY, body text)",
        "INSERT INTO article VALUES ('a', 'bye world'), ('b', 'zanzibar world')",
        f"CREATE VIRTUAL TABLE fts USING {definition}",
        "INSERT INTO fts (fts) VALUES ('rebuild')",
    )


def find(server: SQLiteServer, word: str) -> list[object]:
    return server.run(f"SELECT rowid, body FROM fts WHERE fts MATCH '{word}'")


@pytest.mark.parametrize("definition", CONTENT)
@pytest.mark.parametrize("excluded", [["article"], ["article", "fts"]])
def test_rows_that_are_left_out(server: SQLiteServer, definition: str, excluded: list[str]) -> None:
    make(server, definition)
    server.site.configure(databases=[{"alias": "default", "exclude_tables": excluded}])
    manifest = create_backup()
    archive = gzip.decompress((server.site.backups / manifest.archive_key).read_bytes())
    assert b"zanzibar" not in archive
    restore_backup(discard_old=True)
    assert find(server, "zanzibar") == []
    server.run("INSERT INTO article VALUES ('c', 'new')", "INSERT INTO fts (rowid, body) VALUES (1, 'new')")
    assert find(server, "new") == [(1, "new")]


@pytest.mark.parametrize("definition", CONTENT)
def test_rows_that_come_back_alone(server: SQLiteServer, definition: str) -> None:
    make(server, definition)
    create_backup()
    server.run(
        "DELETE FROM article", "INSERT INTO article VALUES ('n', 'later')", "INSERT INTO fts (fts) VALUES ('rebuild')"
    )
    restore_backup(tables=["article"])
    assert find(server, "zanzibar") == [(2, "zanzibar world")]
    assert find(server, "later") == []


def test_an_index_without_its_rows_is_refused(server: SQLiteServer) -> None:
    make(server, "fts5 (body, content='article')")
    server.site.configure(databases=[{"alias": "default", "include_tables": ["fts"]}])
    with pytest.raises(UsageError, match="names fts and not article, whose rows it indexes"):
        create_backup()


def test_an_index_with_rows_of_its_own_stays(server: SQLiteServer) -> None:
    server.run("CREATE VIRTUAL TABLE fts USING fts5 (title, content)", "INSERT INTO fts VALUES ('book', 'zanzibar')")
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["book"]}])
    create_backup()
    restore_backup()
    assert server.run("SELECT content FROM fts WHERE fts MATCH 'zanzibar'") == [("zanzibar",)]


OWN = "fts5 (body)", "fts4 (body)"


@pytest.mark.parametrize("definition", OWN)
def test_words_of_an_index_whose_rows_are_left_out(server: SQLiteServer, definition: str) -> None:
    """It keeps them after its rows are deleted, until it is merged."""
    server.run(f"CREATE VIRTUAL TABLE fts USING {definition}", "INSERT INTO fts VALUES ('zanzibar'), ('bye')")
    server.site.configure(databases=[{"alias": "default", "exclude_tables": ["fts"]}])
    manifest = create_backup()
    assert b"zanzibar" not in gzip.decompress((server.site.backups / manifest.archive_key).read_bytes())
    restore_backup(discard_old=True)
    server.run("INSERT INTO fts VALUES ('new')")
    assert server.run("SELECT body FROM fts WHERE fts MATCH 'new'") == [("new",)]


@pytest.mark.parametrize("definition", [*OWN, *CONTENT])
def test_words_that_a_sanitizer_has_replaced(server: SQLiteServer, definition: str) -> None:
    make(server, definition)
    if definition in OWN:
        server.run("INSERT INTO fts (rowid, body) SELECT rowid, body FROM article")
    create_backup()
    script = "UPDATE article SET body = 'scrubbed';" + "UPDATE fts SET body = 'scrubbed';" * (definition in OWN)
    (server.site.root / "scrub.sql").write_text(script)
    restore_backup(to="empty", sanitize="scrub.sql", discard_old=True)
    assert b"zanzibar" not in server.path("empty").read_bytes()
    for word, count in (("zanzibar", 0), ("scrubbed", 2)):
        query = f"SELECT count(*) FROM fts WHERE fts MATCH '{word}'"
        assert server.run(query, alias="empty") == [(count,)]


def test_rows_of_a_sanitised_table_keep_their_numbers(server: SQLiteServer) -> None:
    """The index refers to them; a table without an index of its own has no other number for a row."""
    server.run(
        "CREATE TABLE note (body text)",
        "INSERT INTO note (rowid, body) VALUES (5, 'hello'), (7, 'world')",
        "CREATE VIRTUAL TABLE fts USING fts5 (body, content='note')",
        "INSERT INTO fts (fts) VALUES ('rebuild')",
    )
    create_backup()
    (server.site.root / "scrub.sql").write_text("UPDATE author SET name = 'somebody';")
    restore_backup(sanitize="scrub.sql")
    assert server.run("SELECT rowid, body FROM fts WHERE fts MATCH 'world'") == [(7, "world")]
