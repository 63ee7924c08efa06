"""Everything a MariaDB database can hold comes back exactly, and nothing that was added later stays."""

from __future__ import annotations

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.mysql.scratch import SIGN
from tests.backup.engines.contract import AUTHORS, BOOKS
from tests.backup.engines.mysql_server import MySQLServer, fail_unless_equal

# Of each kind: what is there when the backup is made, and what is done afterwards. For MariaDB's own client.
KINDS: dict[str, tuple[str, str]] = {
    "odd names": (
        r"""CREATE TABLE `Ödd ``n%s.a\me'";-- ☃` (`sel;ect` int COMMENT 'a;\nb''c', `VALUES` int, `--` int);
        INSERT INTO `Ödd ``n%s.a\me'";-- ☃` VALUES (1, 2, 3); CREATE TABLE `--help` (i int); CREATE TABLE `select` (i int);
        INSERT INTO `--help` VALUES (1);""",
        r"""DROP TABLE `Ödd ``n%s.a\me'";-- ☃`; CREATE TABLE `läter``;` (i int); INSERT INTO `select` VALUES (1);""",
    ),
    "text": (
        r"""CREATE TABLE words (id int PRIMARY KEY, t text, l varchar(50) CHARACTER SET latin1, b varchar(20) COLLATE utf8mb4_bin);
        INSERT INTO words VALUES (1, 'a;\nb);\n(c\r\t\0\Z\\''"', 'Ä', 'x'), (2, '📚 ☃ ü', NULL, '(1),\n(2)'),
        (3, 'INSERT INTO `book` VALUES\n(1);\n', '', ''), (4, '-- Dump completed', '/*!50003 x */', 'DELIMITER ;;');""",
        "UPDATE words SET t = 'later';",
    ),
    "types": (
        r"""CREATE TABLE types (id int PRIMARY KEY, blb blob, bits bit(10), bin binary(3), j json, d date, dt datetime(6),
        ts timestamp(3) NULL, y year, e enum('a', 'it''s'), s set('x', 'y'), dec_ decimal(30, 10), f double, g geometry,
        u uuid, ip inet6, big bigint unsigned, t time(6), bl boolean);
        SET sql_mode = '';
        INSERT INTO types VALUES (1, 0x00ff0a0d1a275c, b'1010101010', 'a', '{"k": "ü\\n"}', '0000-00-00', '0000-00-00 00:00:00',
        '2024-03-31 02:30:00', 1999, 'it''s', 'x,y', -12345678901234567890.0123456789, 1.7976931348623157e308,
        ST_GeomFromText('POINT(1 2)'), '123e4567-e89b-12d3-a456-426655440000', '::1', 18446744073709551615, '-838:59:59', 1),
        (2, '', NULL, NULL, '[]', '2024-02-30', NULL, NULL, NULL, '', '', 0, 0.1, NULL, NULL, NULL, 0, NULL, NULL);""",
        "DELETE FROM types WHERE id = 1; ALTER TABLE types ADD COLUMN later int;",
    ),
    "generated columns": (
        r"""CREATE TABLE computed (a int, v int AS (a * 2) VIRTUAL, p varchar(20) AS (CONCAT('x;', a)) PERSISTENT, i int INVISIBLE,
        c int CHECK (c > 0), KEY (v), d datetime DEFAULT current_timestamp() ON UPDATE current_timestamp(),
        CONSTRAINT `odd check` CHECK (a <> 77));
        INSERT INTO computed (a, i, c) VALUES (1, 5, 1), (2, 6, 2);""",
        "UPDATE computed SET a = 9; ALTER TABLE computed DROP CONSTRAINT `odd check`;",
    ),
    "keys": (
        r"""CREATE TABLE hen (id int AUTO_INCREMENT PRIMARY KEY, egg int) AUTO_INCREMENT = 500;
        CREATE TABLE egg (id int PRIMARY KEY, hen int, CONSTRAINT of_hen FOREIGN KEY (hen) REFERENCES hen (id) ON DELETE CASCADE);
        ALTER TABLE hen ADD CONSTRAINT of_egg FOREIGN KEY (egg) REFERENCES egg (id) ON UPDATE SET NULL;
        INSERT INTO hen (egg) VALUES (NULL), (NULL); INSERT INTO egg VALUES (1, 500); UPDATE hen SET egg = 1 WHERE id = 500;
        CREATE FULLTEXT INDEX words_of ON author (name); CREATE UNIQUE INDEX `un ique` ON book (title, id);""",
        """CREATE TABLE later_review (id int, book_id int, CONSTRAINT of_book FOREIGN KEY (book_id) REFERENCES book (id));
        INSERT INTO later_review VALUES (1, 1); ALTER TABLE hen DROP FOREIGN KEY of_egg;
        DROP TABLE egg; DELETE FROM hen;""",
    ),
    "storage": (
        """CREATE TABLE parts (id int, at date) PARTITION BY RANGE (YEAR(at)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2
        (PARTITION p0 VALUES LESS THAN (2020), PARTITION p1 VALUES LESS THAN MAXVALUE);
        INSERT INTO parts VALUES (1, '2019-01-01'), (2, '2024-01-01'), (3, '2025-01-01');
        CREATE TABLE isam (i int) ENGINE=MyISAM CHARSET=latin1; INSERT INTO isam VALUES (1);
        CREATE TABLE aria (i int) ENGINE=Aria; CREATE TABLE packed (i int) ENGINE=InnoDB ROW_FORMAT=COMPRESSED COMMENT='it''s';""",
        """ALTER TABLE parts DROP PARTITION p0; INSERT INTO isam VALUES (2); DROP TABLE aria; ALTER TABLE packed COMMENT='later';""",
    ),
    "history": (
        """CREATE TABLE kept (id int PRIMARY KEY, t text) WITH SYSTEM VERSIONING; INSERT INTO kept VALUES (1, 'a'), (2, 'b');
        UPDATE kept SET t = 'c' WHERE id = 1; DELETE FROM kept WHERE id = 2;""",
        "INSERT INTO kept VALUES (3, 'later');",
    ),
    "sequences": (
        """CREATE SEQUENCE numbers START WITH 10 INCREMENT BY 5; CREATE SEQUENCE `o``dd` MAXVALUE 100 CYCLE NOCACHE;
        CREATE TABLE drawn (id int DEFAULT nextval(numbers), t text, n int DEFAULT (nextval(`o``dd`) + 1));
        INSERT INTO drawn (t) VALUES ('x'), ('y');""",
        "DROP TABLE drawn; DROP SEQUENCE numbers; CREATE SEQUENCE later_sequence; CREATE TABLE later_drawn (i int);",
    ),
    "views": (
        """CREATE VIEW zz_base AS SELECT id, title FROM book; CREATE VIEW aa_upon AS SELECT title FROM zz_base;
        CREATE SQL SECURITY INVOKER VIEW `vi;ew` AS SELECT 'it''s; \\n' AS `a;b`, id FROM author WITH CHECK OPTION;
        CREATE ALGORITHM=MERGE VIEW `select` AS SELECT 1 AS x;""".replace("VIEW `select`", "VIEW `selected`"),
        """CREATE OR REPLACE VIEW zz_base AS SELECT id, title, author_id FROM book; DROP VIEW aa_upon;
        CREATE VIEW later_view AS SELECT 1; DROP VIEW `selected`; CREATE TABLE `selected` (i int); CREATE VIEW drawn2 AS SELECT 1;""",
    ),
    "code": (
        r"""DELIMITER $$
        CREATE FUNCTION twice(i int) RETURNS int DETERMINISTIC COMMENT 'it''s;' RETURN 2 * i$$
        CREATE PROCEDURE `pro``c;` (IN a int, OUT `ö` varchar(10) CHARACTER SET latin1, INOUT c text)
        BEGIN
            -- don't; ;;
            /* isn't;; */ # it's
            SET c = 'a;;
b "DELIMITER ;" '';';
            INSERT INTO `book` VALUES
(9999,'from a procedure);
',1);
        END$$
        SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'$$
        CREATE PROCEDURE escapes() SELECT "id", 'a\' FROM "book"$$
        SET sql_mode = 'ORACLE'$$
        CREATE PACKAGE pack AS FUNCTION one RETURN INT; END$$
        CREATE PACKAGE BODY pack AS FUNCTION one RETURN INT AS BEGIN RETURN 1; END; END$$
        SET sql_mode = ''$$
        SET NAMES latin1$$
        CREATE PROCEDURE latin() SELECT 'x'$$
        SET NAMES utf8mb4$$
        CREATE AGGREGATE FUNCTION total(x int) RETURNS int
        BEGIN DECLARE s int DEFAULT 0; DECLARE CONTINUE HANDLER FOR NOT FOUND RETURN s;
        LOOP FETCH GROUP NEXT ROW; SET s = s + x; END LOOP; END$$
        CREATE VIEW doubled AS SELECT twice(id) AS id FROM author$$""",
        """DROP FUNCTION twice; CREATE FUNCTION twice(i int) RETURNS int DETERMINISTIC RETURN 3 * i;
        CREATE PROCEDURE later_procedure() SELECT 1; CREATE FUNCTION later_function() RETURNS int RETURN 1;
        DROP PROCEDURE escapes; SET sql_mode = ORACLE; DROP PACKAGE pack;""",
    ),
    "triggers": (
        r"""CREATE TABLE audited (id int, what text);
        DELIMITER $$
        CREATE TRIGGER `watch;` AFTER UPDATE ON author FOR EACH ROW BEGIN
            INSERT INTO audited VALUES (NEW.id, 'it''s; /* no comment */');  -- don't;
        END$$
        CREATE TRIGGER second AFTER UPDATE ON author FOR EACH ROW FOLLOWS `watch;` INSERT INTO audited VALUES (NEW.id, '2')$$
        CREATE TRIGGER guard BEFORE INSERT ON book FOR EACH ROW SET NEW.title = CONCAT(NEW.title, '!')$$
        CREATE TRIGGER {db}.told BEFORE DELETE ON {db}.`book` FOR EACH ROW SET @deleted = 1$$""",
        """UPDATE author SET name = 'by trigger' WHERE id = 1; DROP TRIGGER guard;
        CREATE TRIGGER guard BEFORE INSERT ON author FOR EACH ROW SET NEW.name = 'later';
        CREATE TRIGGER later_trigger AFTER DELETE ON book FOR EACH ROW SET @x = 1;""",
    ),
    "events": (
        r"""DELIMITER $$
        SET time_zone = '+03:00'$$
        CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 02:00:00' COMMENT 'it''s; ENABLE' DO BEGIN
            DELETE FROM audited; END$$
        CREATE EVENT `ON COMPLETION PRESERVE ENABLE` ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE
            DISABLE DO SET @x = 1$$""",
        "ALTER EVENT nightly DISABLE; CREATE EVENT later_event ON SCHEDULE EVERY 1 HOUR DO SET @x = 2;",
    ),
}


@pytest.fixture
def server(mysql_server: MySQLServer) -> MySQLServer:
    return mysql_server


def make(server: MySQLServer) -> None:
    for first, _ in KINDS.values():
        server.script(first.replace("{db}", server.databases["default"]))


def change(server: MySQLServer) -> None:
    for _, later in KINDS.values():
        server.script(later)
    server.run("DELETE FROM book WHERE id > 9", "UPDATE author SET name = CONCAT('changed ', id) WHERE id < 40")


def test_everything_comes_back_and_nothing_later_stays(server: MySQLServer) -> None:
    """Whatever kind of object: mariadb-dump tells the same text of the database before and after."""
    make(server)
    before = server.text()
    create_backup()
    change(server)
    assert server.text() != before
    switched = restore_backup()
    fail_unless_equal(before, server.text())
    assert server.schemas() == {switched.old_data}, "the scratch is gone"


def test_everything_fits_into_an_empty_database(server: MySQLServer) -> None:
    """The same backup makes the same database where nothing was, and nothing is set aside."""
    make(server)
    create_backup()
    assert restore_backup(to="empty").old_data is None
    fail_unless_equal(server.text(), server.text("empty"))
    assert server.schemas() == set()


def test_the_restored_database_works(server: MySQLServer) -> None:
    """Numbers go on, foreign keys refer to their own tables, triggers fire, routines and views answer."""
    make(server)
    create_backup()
    change(server)
    restore_backup()
    assert server.run("INSERT INTO hen (egg) VALUES (NULL)", "SELECT MAX(id) FROM hen") == [(502,)]
    assert server.run("INSERT INTO drawn (t) VALUES ('z')", "SELECT id > 10 FROM drawn WHERE t = 'z'") == [(1,)]
    server.run("UPDATE hen SET egg = NULL", "DELETE FROM hen WHERE id = 500")
    assert server.count("egg") == 0
    server.run("INSERT INTO book VALUES (1000, 'new', 1)", "UPDATE author SET name = 'x' WHERE id = 2")
    assert server.run("SELECT title FROM book WHERE id = 1000") == [("new!",)]
    assert server.count("audited") == 2
    assert server.run("SELECT twice(4), SUM(id) FROM doubled") == [(8, AUTHORS * (AUTHORS + 1))]
    with pytest.raises(Exception, match="foreign key constraint fails"):
        server.run("INSERT INTO book VALUES (1001, 'x', 4711)")


def test_what_was_set_aside_is_whole(server: MySQLServer) -> None:
    """Every old table with its rows, and the text of what else there was."""
    server.run(
        "CREATE VIEW old_view AS SELECT 1 AS one", "CREATE TRIGGER old BEFORE INSERT ON book FOR EACH ROW SET @x = 1"
    )
    create_backup()
    server.run("DELETE FROM book WHERE id > 9", "CREATE TABLE later (i int)", "INSERT INTO later VALUES (7)")
    restore_backup()
    (aside,) = server.schemas()
    assert server.server.sql(f"SELECT COUNT(*) FROM `{aside}`.book") == [(9,)]
    assert server.server.sql(f"SELECT i FROM `{aside}`.later") == [(7,)]
    kept = server.server.sql(f"SELECT kind, name FROM `{aside}`.django_cfg_backup_plan WHERE generation = 'old'")
    assert set(kept) == {("view", "old_view"), ("trigger", "old")}


def test_a_second_restore_sets_aside_again(server: MySQLServer) -> None:
    create_backup()
    restore_backup()
    server.run("DELETE FROM book")
    restore_backup()
    assert len(server.schemas()) == 2
    assert server.count("book") == BOOKS
    assert {SIGN} & set(server.table_names()) == set()


def test_the_manifest_counts_no_views_and_no_sequences(server: MySQLServer) -> None:
    make(server)
    manifest = create_backup()
    assert [table.name for table in manifest.tables] == server.table_names()
    rows = {table.name: table.rows for table in manifest.tables}
    assert (rows["kept"], rows["parts"], rows["words"]) == (3, 3, 4), "rows of the past are counted too"
    assert all(table.exact for table in manifest.tables)


def test_grants_character_set_and_collation_survive(server: MySQLServer) -> None:
    """On the schema, on its tables, columns and routines: they belong to names, which stay."""
    name = server.databases["default"]
    server.run("CREATE PROCEDURE work() SELECT 1", "CREATE VIEW titles AS SELECT title FROM book")
    user = server.user("clerk@'%'", "SELECT, INSERT ON {db}.*", "UPDATE (title), DELETE ON {db}.book",
                       "SELECT ON {db}.titles", "EXECUTE ON PROCEDURE {db}.work")  # fmt: skip
    server.server.sql(f"ALTER DATABASE {name} CHARACTER SET latin1 COLLATE latin1_german2_ci")
    grants, charset = f"SHOW GRANTS FOR {user}", f"SHOW CREATE DATABASE {name}"
    before = server.server.sql(grants), server.server.sql(charset)
    create_backup()
    restore_backup()
    assert (server.server.sql(grants), server.server.sql(charset)) == before


def test_code_made_under_another_collation_of_the_database(server: MySQLServer) -> None:
    """The dump alters the database around it, by the name it had: the restored one, and no other, keeps its own."""
    name = server.databases["default"]
    server.run("CREATE PROCEDURE old_times(a varchar(10)) SELECT a")
    server.server.sql(f"ALTER DATABASE {name} CHARACTER SET latin1 COLLATE latin1_german2_ci")
    create_backup()
    for alias in ("default", "empty"):
        charset = f"SHOW CREATE DATABASE {server.databases[alias]}"
        before = server.server.sql(charset)
        restore_backup(to=alias)
        assert server.server.sql(charset) == before
        told = server.run("SHOW CREATE PROCEDURE old_times", alias=alias)[0]
        assert told[-1] == "utf8mb4_unicode_ci"
