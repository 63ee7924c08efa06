"""The report of the benchmarks: ratios turn by turn, a page, a chart for light and dark."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from benchmarks.document import chart, write
from benchmarks.measure import Facts, Table, Turn
from benchmarks.sample import FOREIGN_KEYS, INDEXES, TABLES, tables


def turn(wall: float) -> Turn:
    return Turn(wall, cpu=wall / 2, peak=90_000_000, tree=100_000_000, size=1_000_000)


TABLE = Table(
    "PostgreSQL, backup",
    "a database",
    "pg_dump | gzip -6",
    {"pg_dump | gzip -6": [turn(1), turn(10), turn(2)], "ours, gzip": [turn(2), turn(10), turn(3)]},
)


def test_a_ratio_is_taken_within_a_turn() -> None:
    """A turn in which the machine was busy does not count for one of the two alone."""
    base, ours = TABLE.rows
    assert (base.ratio, ours.ratio) == (1, 1.5)
    assert (base.wall, ours.wall) == (2, 3)


def test_the_chart_is_svg_for_light_and_dark() -> None:
    drawn = chart([TABLE])
    assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314  made above
    assert "@media (prefers-color-scheme: dark)" in drawn
    assert ">1.50</text>" in drawn


def test_the_page_names_machine_versions_and_date(tmp_path: Path) -> None:
    write([TABLE, Facts("Memory", ["60 MB"])], tmp_path, turns=3, readme=None)
    page = (tmp_path / "benchmarks.md").read_text()
    for expected in ("| Date | 20", "cores of", "Python 3.", "Medians of 3 turns", "| ours, gzip | 1.50 |", "- 60 MB"):
        assert expected in page
    assert "| `pg_dump \\| gzip -6` | 1.00 |" in page
    assert (tmp_path / "images" / "benchmarks.svg").exists()


def test_the_sample_refers_only_to_rows_that_exist() -> None:
    """8 indexes and 4 foreign keys, as a shop has them."""
    assert len(INDEXES) == 8
    assert sum(map(len, FOREIGN_KEYS.values())) == 4
    rows = {table: list(found) for table, found in tables(0.0005)}
    for table, keys in FOREIGN_KEYS.items():
        columns = [column.split()[0] for column in TABLES[table].split(", ") if not column[0].isdigit()]
        for column, other in keys.items():
            assert {row[columns.index(column)] for row in rows[table]} <= {row[0] for row in rows[other]}
