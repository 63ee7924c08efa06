"""What a MariaDB database can hold, of every kind one."""

from __future__ import annotations

# For each kind: statements before the backup, and statements after it. For MariaDB's own client.
KINDS: dict[str, tuple[str, str]] = {
    "odd names": (
        r"""CREATE TABLE `Ödd ``n%s.a\me'";-- ☃` (`sel;ect` int COMMENT 'a;\nb''c', `VALUES` int, `--` int);
        INSERT INTO `Ödd ``n%s.a\me'";-- ☃` VALUES (1, 2, 3); CREATE TABLE `--help` (i int);
        CREATE TABLE `select` (i int);
        INSERT INTO `--help` VALUES (1);""",
        r"""DROP TABLE `Ödd ``n%s.a\me'";-- ☃`; CREATE TABLE `läter``;` (i int); INSERT INTO `select` VALUES (1);""",
    ),
    "text": (
        r"""CREATE TABLE words (id int PRIMARY KEY, t text, l varchar(50) CHARACTER SET latin1,
        b varchar(20) COLLATE utf8mb4_bin);
        INSERT INTO words VALUES (1, 'a;\nb);\n(c\r\t\0\Z\\''"', 'Ä', 'x'), (2, '📚 ☃ ü', NULL, '(1),\n(2)'),
        (3, 'INSERT INTO `book` VALUES\n(1);\n', '', ''), (4, '-- Dump completed', '/*!50003 x */',
        'DELIMITER ;;');""",
        "UPDATE words SET t = 'later';",
    ),
    "types": (
        r"""CREATE TABLE types (id int PRIMARY KEY, blb blob, bits bit(10), bin binary(3), j json, d date,
        dt datetime(6),
        ts timestamp(3) NULL, y year, e enum('a', 'it''s'), s set('x', 'y'), dec_ decimal(30, 10), f double,
        g geometry,
        u uuid, ip inet6, big bigint unsigned, t time(6), bl boolean);
        SET sql_mode = '';
        INSERT INTO types VALUES (1, 0x00ff0a0d1a275c, b'1010101010', 'a', '{"k": "ü\\n"}', '0000-00-00',
        '0000-00-00 00:00:00',
        '2024-03-31 02:30:00', 1999, 'it''s', 'x,y', -12345678901234567890.0123456789, 1.7976931348623157e308,
        ST_GeomFromText('POINT(1 2)'), '123e4567-e89b-12d3-a456-426655440000', '::1', 18446744073709551615,
        '-838:59:59', 1),
        (2, '', NULL, NULL, '[]', '2024-02-30', NULL, NULL, NULL, '', '', 0, 0.1, NULL, NULL, NULL, 0, NULL,
        NULL);""",
        "DELETE FROM types WHERE id = 1; ALTER TABLE types ADD COLUMN later int;",
    ),
    "generated columns": (
        r"""CREATE TABLE computed (a int, v int AS (a * 2) VIRTUAL, p varchar(20) AS (CONCAT('x;', a)) PERSISTENT,
        i int INVISIBLE,
        c int CHECK (c > 0), KEY (v), d datetime DEFAULT current_timestamp() ON UPDATE current_timestamp(),
        CONSTRAINT `odd check` CHECK (a <> 77));
        INSERT INTO computed (a, i, c) VALUES (1, 5, 1), (2, 6, 2);""",
        "UPDATE computed SET a = 9; ALTER TABLE computed DROP CONSTRAINT `odd check`;",
    ),
    "keys": (
        r"""CREATE TABLE hen (id int AUTO_INCREMENT PRIMARY KEY, egg int) AUTO_INCREMENT = 500;
        CREATE TABLE egg (id int PRIMARY KEY, hen int, CONSTRAINT of_hen
        FOREIGN KEY (hen) REFERENCES hen (id) ON DELETE CASCADE);
        ALTER TABLE hen ADD CONSTRAINT of_egg FOREIGN KEY (egg) REFERENCES egg (id) ON UPDATE SET NULL;
        INSERT INTO hen (egg) VALUES (NULL), (NULL); INSERT INTO egg VALUES (1, 500);
        UPDATE hen SET egg = 1 WHERE id = 500;
        CREATE FULLTEXT INDEX words_of ON author (name); CREATE UNIQUE INDEX `un ique` ON book (title, id);""",
        """CREATE TABLE later_review (id int, book_id int, CONSTRAINT of_book
        FOREIGN KEY (book_id) REFERENCES book (id));
        INSERT INTO later_review VALUES (1, 1); ALTER TABLE hen DROP FOREIGN KEY of_egg;
        DROP TABLE egg; DELETE FROM hen;""",
    ),
    "storage": (
        """CREATE TABLE parts (id int, at date) PARTITION BY RANGE (YEAR(at)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2
        (PARTITION p0 VALUES LESS THAN (2020), PARTITION p1 VALUES LESS THAN MAXVALUE);
        INSERT INTO parts VALUES (1, '2019-01-01'), (2, '2024-01-01'), (3, '2025-01-01');
        CREATE TABLE isam (i int) ENGINE=MyISAM CHARSET=latin1; INSERT INTO isam VALUES (1);
        CREATE TABLE aria (i int) ENGINE=Aria; CREATE TABLE packed (i int)
        ENGINE=InnoDB ROW_FORMAT=COMPRESSED COMMENT='it''s';""",
        """ALTER TABLE parts DROP PARTITION p0; INSERT INTO isam VALUES (2); DROP TABLE aria;
        ALTER TABLE packed COMMENT='later';""",
    ),
    "history": (
        """CREATE TABLE kept (id int PRIMARY KEY, t text) WITH SYSTEM VERSIONING;
        INSERT INTO kept VALUES (1, 'a'), (2, 'b');
        UPDATE kept SET t = 'c' WHERE id = 1; DELETE FROM kept WHERE id = 2;""",
        "INSERT INTO kept VALUES (3, 'later');",
    ),
    "sequences": (
        """CREATE SEQUENCE numbers START WITH 10 INCREMENT BY 5; CREATE SEQUENCE `o``dd` MAXVALUE 100 CYCLE NOCACHE;
        CREATE TABLE drawn (id int DEFAULT nextval(numbers), t text, n int DEFAULT (nextval(`o``dd`) + 1));
        INSERT INTO drawn (t) VALUES ('x'), ('y');
        CREATE VIEW next_numbers AS SELECT NEXT VALUE FOR numbers AS n, lastval(`o``dd`) AS l, 'nextval(' AS t;""",
        """DROP VIEW next_numbers; DROP TABLE drawn; DROP SEQUENCE numbers; CREATE SEQUENCE later_sequence;
        CREATE TABLE later_drawn (i int);""",
    ),
    "views": (
        """CREATE VIEW zz_base AS SELECT id, title FROM book; CREATE VIEW aa_upon AS SELECT title FROM zz_base;
        CREATE SQL SECURITY INVOKER VIEW `vi;ew` AS SELECT 'it''s; \\n' AS `a;b`, id FROM author WITH CHECK OPTION;
        CREATE ALGORITHM=MERGE VIEW `selected` AS SELECT 1 AS x;""",
        """CREATE OR REPLACE VIEW zz_base AS SELECT id, title, author_id FROM book; DROP VIEW aa_upon;
        CREATE VIEW later_view AS SELECT 1; DROP VIEW `selected`; CREATE TABLE `selected` (i int);
        CREATE VIEW drawn2 AS SELECT 1;""",
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
        CREATE TRIGGER second AFTER UPDATE ON author FOR EACH ROW FOLLOWS `watch;`
            INSERT INTO audited VALUES (NEW.id, '2')$$
        CREATE TRIGGER guard BEFORE INSERT ON book FOR EACH ROW SET NEW.title = CONCAT(NEW.title, '!')$$
        CREATE TRIGGER {db}.noted BEFORE DELETE ON {db}.`book` FOR EACH ROW SET @deleted = 1$$""",
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
