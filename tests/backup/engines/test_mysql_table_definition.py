"""What of a table's definition can be added after its rows: indexes that InnoDB sorts, and the keys that use them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cfg.backup.engines.mysql.table_definition import read_name, split_definition

END = b"\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"


def define(*items: str, end: bytes = END) -> bytes:
    return b"CREATE TABLE `t``x` (\n  " + ",\n  ".join(items).encode() + end


def split(*items: str, end: bytes = END) -> tuple[bytes, list[str]]:
    """The statement that creates the table, and what the other one adds."""
    found = split_definition(define(*items, end=end))
    if not found:
        return define(*items, end=end), []
    head = b"ALTER TABLE `t``x`\n  ADD "
    assert found.indexes.startswith(head)
    return found.table, found.indexes.removeprefix(head).decode().split(",\n  ADD ")


COLUMNS = ("`id` int(11) NOT NULL AUTO_INCREMENT", "`a` text DEFAULT 'x, KEY `a` (`b`)\\''', (' COMMENT 'it''s \\\\'",
           "`KEY ``b` decimal(8,2) GENERATED ALWAYS AS (`a` * (2 + 3)) STORED", "PRIMARY KEY (`id`)")  # fmt: skip
UNIQUE, KEY = "UNIQUE KEY `u, (` (`a`,`KEY ``b`)", "KEY `k` (`a`(10) DESC) COMMENT 'a, b)'"
FOREIGN_KEY = "CONSTRAINT `f` FOREIGN KEY (`a`, `b`) REFERENCES `o` (`x`, `y`) ON DELETE CASCADE"
CHECK = "CONSTRAINT `FOREIGN KEY ` CHECK (`a` in ('KEY `','it\\'s'))"


def test_indexes_and_foreign_keys_come_after_the_rows() -> None:
    table, added = split(*COLUMNS, UNIQUE, KEY, FOREIGN_KEY, CHECK)
    assert table == define(*COLUMNS, CHECK)
    assert added == [UNIQUE, KEY, FOREIGN_KEY]
    assert read_name(table) == "t`x"


@pytest.mark.parametrize(
    "stays",
    [
        "FULLTEXT KEY `w` (`a`)",
        "SPATIAL KEY `g` (`a`)",
        "KEY `i` (`id`)",
        "UNIQUE KEY `h` (`a`) USING HASH",
        "UNIQUE KEY `p` (`a`,`q` WITHOUT OVERLAPS)",
    ],
)
def test_what_cannot_be_added_by_sorting_stays(stays: str) -> None:
    assert split(*COLUMNS, stays) == (define(*COLUMNS, stays), [])
    assert split(*COLUMNS, stays, KEY) == (define(*COLUMNS, stays), [KEY])


def test_the_index_in_whose_order_the_rows_are_stays() -> None:
    """Without a primary key InnoDB takes the first unique one."""
    assert split("`a` int", "UNIQUE KEY `u` (`a`)", KEY) == (define("`a` int", "UNIQUE KEY `u` (`a`)"), [KEY])


@pytest.mark.parametrize(
    ("items", "end"),
    [
        (COLUMNS, END),
        ((*COLUMNS, FOREIGN_KEY), END),
        ((*COLUMNS, KEY), b"\n) ENGINE=Aria"),
        ((*COLUMNS, KEY), END + b" WITH SYSTEM VERSIONING"),
        ((*COLUMNS, KEY, "PERIOD FOR `p` (`b`, `e`)"), END),
        ((*COLUMNS, KEY), b""),
        ((*COLUMNS, KEY, "`a` int /* odd */"), END),
        ((*COLUMNS, KEY, "`a` int DEFAULT 'no end"), END),
    ],
)
def test_other_tables_stay_as_they_are(items: tuple[str, ...], end: bytes) -> None:
    assert split_definition(define(*items, end=end)) is None


@pytest.mark.parametrize("text", [b"CREATE TABLE t (i int)", b"CREATE TABLE `t` LIKE `u`", b"DROP TABLE `t`", b""])
def test_what_the_server_does_not_write_so_has_no_name(text: bytes) -> None:
    assert (read_name(text), split_definition(text)) == ("", None)


NAMES = st.text(alphabet="a`'\"\\,() \n\u2603", min_size=1, max_size=12).map(lambda name: name.replace("`", "``"))


@given(NAMES, NAMES, st.text(alphabet="a'\\,()`K \n", max_size=20))
def test_any_names_and_values(column: str, key: str, value: str) -> None:
    default = "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    columns = ("`id` int", f"`{column}` varchar(20) DEFAULT {default} COMMENT {default}", "PRIMARY KEY (`id`)")
    keys = [f"KEY `{key}` (`{column}`)", f"UNIQUE KEY `{key} ` (`{column}`(3),`id`)"]
    found = split_definition(define(*columns, *keys))
    assert found
    assert found.table == define(*columns)
    assert found.indexes == ("ALTER TABLE `t``x`\n  ADD " + ",\n  ADD ".join(keys)).encode()


@pytest.mark.parametrize("filling", [b"(", b"''", b"`a", b"a'", b",", b"/*", b"\\'"])
def test_what_is_no_definition_is_read_fast(filling: bytes) -> None:
    started = time.process_time()
    assert split_definition(b"CREATE TABLE `t` (" + filling * 500_000) is None
    assert time.process_time() - started < 5
