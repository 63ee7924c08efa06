"""A dump is read right however it is cut into blocks, whatever its values and its code hold."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cfg.backup.engines.mysql import sql_splitter
from django_cfg.backup.engines.mysql.dump_scanner import DumpScanner
from django_cfg.backup.engines.mysql.sql_splitter import Rows, Splitter, Statement
from django_cfg.backup.engines.mysql.stored_code.parser import StoredCodeParser, StoredObject
from django_cfg.backup.errors import VerificationFailed

DUMP = rb"""/*M!999999\- enable the sandbox mode */
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: sh`op; x
-- ------------------------------------------------------

/*!40101 SET NAMES utf8mb4 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
DROP TABLE IF EXISTS `a``;b`;
CREATE TABLE `a``;b` (
  `x;` int COMMENT 'it''s; \' "',
  PARTITION BY RANGE (`x`)
(PARTITION `p0`, -- don't; stop
 PARTITION `p1`)
);
LOCK TABLES `a``;b` WRITE;
INSERT INTO `a``;b` VALUES
(1,'a;\nb);\n(','-- Dump completed'),
(2,NULL,0x00);
INSERT INTO `a``;b` (`VALUES`, `c)`) VALUES
(3,'x');
UNLOCK TABLES;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER t BEFORE INSERT ON `a``;b` FOR EACH ROW BEGIN
-- isn't it;;
/* don't ;; */ # it's;;
INSERT INTO `a``;b` VALUES
(9);
SET @x = 'y;;
z', @y = "DELIMITER ;", @z = `;;`;
END */;;
DELIMITER ;
INSERT INTO `empty` VALUES
(1);

-- Dump completed on 2025-01-01  2:00:00
"""
STATEMENTS = 7  # without INSERTs


def pieces(splitter: Splitter, data: bytes, size: int) -> tuple[list[bytes], list[tuple[str, bytes]]]:
    """The statements of a dump read by *size* bytes, and its INSERTs, put together again."""
    statements, inserts = [], []
    for at in range(0, len(data), size):
        for piece in splitter.feed(data[at : at + size]):
            if isinstance(piece, Statement):
                statements.append(piece.text)
            elif piece.table:
                inserts.append((piece.table, bytes(piece.block)))
            else:
                inserts[-1] = (inserts[-1][0], inserts[-1][1] + bytes(piece.block))
    return statements, inserts


@pytest.mark.parametrize("size", [*range(1, 40), 64, 100, 1000, len(DUMP)])
def test_any_block_size_gives_the_same(size: int) -> None:
    splitter = Splitter()
    statements, inserts = pieces(splitter, DUMP, size)
    assert len(statements) == STATEMENTS
    assert statements[-1].endswith(b"END */")
    assert [table for table, _ in inserts] == ["a`;b", "a`;b", "empty"]
    assert inserts[0][1].endswith(b"(2,NULL,0x00);\n")
    assert splitter.is_complete
    assert splitter.database == b"sh`op; x"


@pytest.mark.parametrize("size", [1, 7, 50, len(DUMP)])
def test_rows_are_counted_where_they_are_rows(size: int) -> None:
    """Neither partitions nor what a trigger inserts."""
    scanner = DumpScanner()
    for at in range(0, len(DUMP), size):
        scanner.feed(DUMP[at : at + size])
    assert scanner.rows == {"a`;b": 3, "empty": 1}
    assert scanner.uncountable == set()
    assert scanner.definers == {"`root`@`localhost`"}
    assert scanner.is_complete


@pytest.mark.parametrize("cut", range(1, len(DUMP), 23))
def test_half_a_dump_is_no_dump(cut: int) -> None:
    scanner = DumpScanner()
    scanner.feed(DUMP[:cut])
    assert not scanner.is_complete


def test_what_mysqldump_puts_into_one_line_is_not_counted() -> None:
    """Its rows cannot be distinguished from their values without reading every byte."""
    scanner = DumpScanner()
    scanner.feed(b"INSERT INTO `t` VALUES (1,'),('),(2,'x');\n-- Dump completed\n")
    assert scanner.uncountable == {"t"}
    assert scanner.is_complete


VALUE = st.text(alphabet="a'\"\\\n;)(,-#/*`\0\r\x1aü", max_size=30)


@given(st.lists(VALUE, min_size=1, max_size=20), st.integers(1, 50))
def test_any_values_are_counted(values: list[str], size: int) -> None:
    """Escaped as the programs escape them."""
    meanings = {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\0": "\\0", "\x1a": "\\Z"}
    rows = [f"({n},'{''.join(meanings.get(c, c) for c in value)}')" for n, value in enumerate(values)]
    data = ("INSERT INTO `t` VALUES\n" + ",\n".join(rows) + ";\n-- Dump completed\n").encode()
    scanner = DumpScanner()
    for at in range(0, len(data), size):
        scanner.feed(data[at : at + size])
    assert scanner.rows == {"t": len(values)}
    assert scanner.is_complete


@given(st.text(alphabet=");\n,x", max_size=30), st.sampled_from(["", ";" * 999, ";)" * 1001]))
def test_an_insert_ends_at_the_first_end_mark(rows: str, many: str) -> None:
    """However many semicolons its values hold."""
    text = b"(x" + (many + rows).encode()
    parts = [part for part in Splitter().feed(b"INSERT INTO `t` VALUES\n" + text) if isinstance(part, Rows)]
    end = text.find(b");\n")
    may_be_its_end = 2 if text.endswith(b");") else 1 if text.endswith(b")") else 0
    assert bytes(parts[1].block) == text[: end + 3 if end >= 0 else len(text) - may_be_its_end]


@given(st.integers(0, 200_000), st.integers(0, 100), st.integers(0, 100))
def test_rows_are_counted_in_any_part(row: int, before: int, after: int) -> None:
    data = (b"x" * row + b"\n") * 3 + b"\n\n"
    part = Rows(data, before, max(len(data) - after, before))
    assert part.line_ends == data.count(b"\n", part.start, part.end)


# --- what has no end


MIB = 1 << 20


def feed_blocks(splitter: Splitter, block: bytes, times: int) -> int:
    """Return the bytes of rows in it."""
    return sum(len(part.block) for _ in range(times) for part in splitter.feed(block) if isinstance(part, Rows))


@pytest.mark.parametrize(
    ("begin", "filling"),
    [
        (b"CREATE TABLE x (c int DEFAULT 'aaa", b"a"), (b"CREATE TABLE x (c int DEFAULT 'aaa", b"\\\\"),
        (b"CREATE TABLE x (c int DEFAULT \"", b"a''"), (b"CREATE TABLE `x", b"x"), (b"CREATE TABLE x", b"\0"),
        (b"CREATE TABLE x /* ", b"* "), (b"CREATE TABLE x -- ", b"- "), (b"CREATE TABLE x ", b"''"),
        (b"\0", b"\0"), (b"-- ", b"- "), (b"INSERT INTO `t` (", b"``"), (b"CREATE TABLE x", b"/*!*/"),
    ],
)  # fmt: skip
def test_what_has_no_end_is_refused_in_linear_time(
    begin: bytes, filling: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with a limit of memory."""

    def take(limit: int) -> float:
        monkeypatch.setattr(sql_splitter, "MAX_STATEMENT", limit * MIB)
        splitter = Splitter()
        started = time.process_time()
        list(splitter.feed(begin))
        with pytest.raises(VerificationFailed, match=rf"no end within ({limit}|1) MiB, so this is no output"):
            feed_blocks(splitter, filling * (MIB // len(filling) // 4), 5 * limit)
        return time.process_time() - started

    assert take(16) < 8 * max(take(4), 0.01)  # four times as much; a square would be sixteen times


def test_random_bytes_are_no_dump() -> None:
    noise = random.Random(1).randbytes(8 * MIB)
    scanner = DumpScanner()
    started = time.process_time()
    for at in range(0, len(noise), MIB):
        scanner.feed(noise[at : at + MIB])
    assert not scanner.is_complete
    assert time.process_time() - started < 15


def test_a_row_may_be_larger_than_any_statement() -> None:
    """max_allowed_packet may be 1 GB; no more than a block of it is in memory."""
    splitter = Splitter()
    list(splitter.feed(b"INSERT INTO `t` VALUES\n(1,0x"))
    block = b"ff" * (MIB // 2)
    assert feed_blocks(splitter, block, 70) == 70 * MIB
    assert not splitter.rest
    list(splitter.feed(b");\n-- Dump completed\n"))
    assert splitter.is_complete


def test_a_long_definition_is_one_statement() -> None:
    """Up to the limit; however it is cut."""
    text = b"CREATE PROCEDURE p() SELECT '" + b"it''s; \\\\" * (4 * MIB) + b"'"
    statements, _ = pieces(Splitter(), text + b";\n-- Dump completed\n", MIB)
    assert statements == [text]


@given(
    st.text(alphabet="a'\"`\\;-#/*M!\n $", max_size=60),
    st.integers(1, 10),
    st.sampled_from([b";;", b"//", b"$$", b";"]),
)
def test_no_cut_changes_what_is_a_statement(text: str, size: int, delimiter: bytes) -> None:
    data = b"DELIMITER " + delimiter + b"\nSET x " + text.encode()
    at_once, in_blocks = Splitter(), Splitter()
    assert pieces(in_blocks, data, size) == pieces(at_once, data, len(data))
    assert bytes(in_blocks.rest) == bytes(at_once.rest)


@pytest.mark.parametrize(
    "text",
    [b"CREATE " + b"/*!1 " * 40 + b"x", b"CREATE " + b"/*a*/" * 40 + b"x", b"SET sql_mode = " + b" " * 200_000 + b"x",
     b"CREATE " + b" " * 200_000 + b"x"],
)  # fmt: skip
def test_what_is_nearly_code_is_read_fast(text: bytes) -> None:
    started = time.process_time()
    assert StoredCodeParser().read(Statement(text)) == (False, None)
    assert time.process_time() - started < 5


# --- code


def item(text: bytes) -> StoredObject:
    found = StoredCodeParser().read(Statement(text))[1]
    assert found
    return found


@pytest.mark.parametrize(
    ("text", "kind", "name", "definer"),
    [
        (b"CREATE DEFINER=`a``b`@`%` PROCEDURE `p``q`() SELECT 1", "procedure", "p`q", "`a``b`@`%`"),
        (b"CREATE DEFINER=`role` FUNCTION f() RETURNS int RETURN 1", "function", "f", "`role`"),
        (b'CREATE DEFINER="r"@"h" PACKAGE BODY "pa""ck" AS x', "package body", 'pa"ck', '"r"@"h"'),
        (b"CREATE DEFINER=CURRENT_USER AGGREGATE FUNCTION f() RETURNS int BEGIN END", "function", "f", "CURRENT_USER"),
        (b"/*!50106 CREATE*/ /*!50117 DEFINER=`r`@`h`*/ /*!50106 EVENT `e` ON SCHEDULE x */", "event", "e", "`r`@`h`"),
        (
            b"/*!50001 CREATE ALGORITHM=MERGE */\n/*!50013 DEFINER=`r`@`h` SQL SECURITY INVOKER */\n"
            b"/*!50001 VIEW `v` AS x */",
            "view", "v", "`r`@`h`",
        ),
        (b"CREATE DEFINER=r@h trigger /* it's */ tr before\ninsert on t for each row x", "trigger", "tr", "r@h"),
    ],
)  # fmt: skip
def test_what_is_made_and_by_whom(text: bytes, kind: str, name: str, definer: str) -> None:
    found = item(text)
    assert (found.kind, found.name, found.definer) == (kind, name, definer)
    assert found.without_definer().definer == ""
    assert found.without_definer().name == name
    assert item(found.with_replace().text).definer == definer
    assert b"OR REPLACE" in found.with_replace().text
    for changed in (found.without_definer(), found.with_replace()):
        assert changed.text.count(b"/*") == changed.text.count(b"*/") == text.count(b"/*")


@pytest.mark.parametrize(
    "text",
    [b"CREATE TABLE `view` (i int)", b"CREATE SEQUENCE s", b"INSERT INTO `trigger` VALUES (1)",
     b"LOCK TABLES `t` WRITE",
     b"SET character_set_client = utf8", b"ALTER TABLE `event` DISABLE KEYS", b"DROP TABLE IF EXISTS `v`"],
)  # fmt: skip
def test_what_is_no_code(text: bytes) -> None:
    assert StoredCodeParser().read(Statement(text)) == (False, None)


def test_placeholders_of_views_are_left_out() -> None:
    assert StoredCodeParser().read(Statement(b"/*!50001 CREATE VIEW `v` AS SELECT\n 1 AS `a` */")) == (True, None)


def test_a_triggers_schema_is_left_out() -> None:
    """Its author may have written it: what was made for one database would go into another."""
    text = b"CREATE TRIGGER `shop`.`tr` AFTER UPDATE ON shop . `book` FOR EACH ROW UPDATE shop.book SET i = 1"
    assert item(text).text == b"CREATE TRIGGER `tr` AFTER UPDATE ON `book` FOR EACH ROW UPDATE shop.book SET i = 1"


def test_an_event_is_disabled_where_it_says_so() -> None:
    text = b"CREATE EVENT `ON COMPLETION PRESERVE ENABLE` ON SCHEDULE x ON COMPLETION NOT PRESERVE ENABLE DO y"
    assert item(text).disabled().text == text.replace(b"NOT PRESERVE ENABLE", b"NOT PRESERVE DISABLE")


def test_a_session_is_that_of_its_item() -> None:
    """What a dump sets for one item holds until it is set back."""
    parser = StoredCodeParser()
    texts = [b"/*!40103 SET TIME_ZONE='+00:00' */", b"/*!50003 SET sql_mode              = 'ANSI' */ ",
             b"/*!50003 SET character_set_client  = latin1 */",
             b"ALTER DATABASE `x` CHARACTER SET latin1 COLLATE latin1_bin", b"CREATE PROCEDURE a() x",
             b"/*!50003 SET sql_mode = @saved_sql_mode */", b"CREATE PROCEDURE b() x"]  # fmt: skip
    first, second = filter(None, (parser.read(Statement(text))[1] for text in texts))
    assert b"SET sql_mode = 'ANSI'" in first.session_statements()
    assert first.database_charset == b"CHARACTER SET latin1 COLLATE latin1_bin"
    assert b"SET character_set_client = latin1" in second.session_statements()
    assert b"SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'" in second.session_statements()


def test_rows_are_not_copied() -> None:
    """A block of the dump is handed on as a view of what was read."""
    splitter = Splitter()
    block = b"INSERT INTO `t` VALUES\n(1),\n" + b"(2),\n" * 1000
    head, rows = splitter.feed(block)
    assert isinstance(head, Rows)
    assert isinstance(rows, Rows)
    assert rows.data is block
