"""A dump that is cut, zeroed or random is no backup, also where the program that wrote it ends with 0."""

from __future__ import annotations

import io
import random
import subprocess
from pathlib import Path

import pytest

from django_cfg.backup import create_backup
from django_cfg.backup.engines.postgresql.custom_format import CustomFormatReader
from django_cfg.backup.engines.postgresql.schema import TableName
from django_cfg.backup.errors import DumpFailed
from tests.support.postgresql_databases import PostgreSQLServer

ROWS = (
    "CREATE TABLE many (id int, a text)",
    "INSERT INTO many SELECT i, repeat('x', i % 90) FROM generate_series(1, 60000) i",
    "CREATE TABLE narrow (a text)",
    "INSERT INTO narrow SELECT '' FROM generate_series(1, 30000)",
    r"INSERT INTO narrow VALUES ('\.'), (E'\n\n\n'), (E'\\.\n\n\n')",
    "CREATE TABLE wide (id int, a text)",
    "INSERT INTO wide VALUES (1, repeat('y', 3000000)), (2, repeat(E'\\n', 100000))",
    "CREATE TABLE ragged (id int, a text)",
    "INSERT INTO ragged SELECT i, repeat('z', 10 * i) FROM generate_series(1, 500) i",
    "CREATE TABLE no_columns ()",
    "INSERT INTO no_columns DEFAULT VALUES",
    "SELECT lo_from_bytea(0, decode(repeat('00', 100000), 'hex'))",
)
SMALL = ("CREATE TABLE one (id int, a text)", "INSERT INTO one VALUES (1, 'a'), (2, 'b')", "CREATE TABLE none (id int)")


def dump(server: PostgreSQLServer, *options: str) -> bytes:
    argv = [
        server.server.programs / "pg_dump",
        "--format=custom",
        "--compress=0",
        *options,
        server.databases["default"],
    ]
    return subprocess.run(argv, env=server.environment(), capture_output=True, check=True).stdout


def check(stream: bytes, *tables: str, piece: int = 1 << 20) -> CustomFormatReader:
    reader = CustomFormatReader(io.BytesIO(stream), [TableName("public", name) for name in tables], "default")
    while reader.read(piece):
        pass
    reader.check_end()
    return reader


@pytest.mark.parametrize("options", [(), ("--inserts",), ("--no-owner", "--verbose"), ("--encoding=LATIN1",)])
@pytest.mark.parametrize("piece", [7, 4096, 1 << 20])
def test_what_pg_dump_writes(own_rows: PostgreSQLServer, options: tuple[str, ...], piece: int) -> None:
    if piece == 7:
        own_rows.run("TRUNCATE many, narrow, wide, ragged")  # a piece of a few bytes takes long
    check(dump(own_rows, *options), "book", "many", "narrow", "wide", "ragged", "no_columns", piece=piece)


@pytest.fixture
def own_rows(postgresql_server: PostgreSQLServer) -> PostgreSQLServer:
    postgresql_server.run(*ROWS)
    return postgresql_server


def test_a_cut_at_each_byte(postgresql_server: PostgreSQLServer) -> None:
    server = postgresql_server
    server.make_again("default")
    server.run(*SMALL)
    stream = dump(server)
    check(stream, "one", "none")
    for size in range(len(stream)):
        with pytest.raises(DumpFailed, match="pg_dump's output"):
            check(stream[:size], "one", "none")


def test_a_table_without_its_rows(own_rows: PostgreSQLServer) -> None:
    stream = dump(own_rows, "--exclude-table-data=many")
    with pytest.raises(DumpFailed, match=r"not of the \d+ that the database has: public\.many\. Nothing was published"):
        check(stream, "book", "many", "narrow")


def test_what_is_damaged_within(own_rows: PostgreSQLServer) -> None:
    """Runs of zeros and of noise at fifty places, in each kind of table."""
    stream = dump(own_rows, "--table=many", "--table=narrow", "--table=wide", "--table=ragged")
    noise = random.Random(4)
    begin = stream.index(b"\n\0")
    for size in (600, 70_000, 300_000):
        for _ in range(50):
            at = noise.randrange(begin, len(stream) - size)
            for harm in (bytes(size), noise.randbytes(size)):
                if size == 600 and harm.strip(b"\0"):
                    continue  # a little noise in the rows is for the drill to find
                with pytest.raises(DumpFailed):
                    check(stream[:at] + harm + stream[at + size :], "many", "narrow", "wide", "ragged")


def test_more_than_a_dump(own_rows: PostgreSQLServer) -> None:
    stream = dump(own_rows)
    for strange in (b"Welcome to db1\n" + stream, stream + b"Connection closed.\n", stream + stream, stream + b"\0"):
        with pytest.raises(DumpFailed, match="pg_dump's output"):
            check(strange)


def test_a_newer_format_is_reported_and_not_refused(postgresql_server: PostgreSQLServer) -> None:
    stream = dump(postgresql_server)
    newer = stream[:6] + b"\x63" + stream[7:]
    assert check(newer, "book").unknown_version == "1.99"
    assert check(stream, "book").unknown_version == ""


WRAPPERS = {
    "half of it": "{pg_dump} | head -c 30000",
    "without its last bytes": "{pg_dump} | head -c -20",
    "without its last byte": "{pg_dump} | head -c -1",
    "zeros in the middle": "{pg_dump} > $OUT; dd if=/dev/zero of=$OUT bs=1k seek=100 count=200 conv=notrunc; cat $OUT",
    "random bytes": "head -c 3000000 /dev/urandom",
    "text": "{pg_dump} --format=plain",
    "compressed": "{pg_dump} | gzip",
    "lines of another system": "{pg_dump} | sed 's/$/\\r/'",
    "twice": "{pg_dump}; {pg_dump}",
}


def wrap(server: PostgreSQLServer, folder: Path, script: str) -> None:
    """Put *script* in the place of pg_dump."""
    tools = folder / "tools"
    tools.mkdir()
    for program in server.server.programs.iterdir():
        (tools / program.name).symlink_to(program)
    (tools / "pg_dump").unlink()
    call = f'{server.server.programs / "pg_dump"} "$@"'
    script = script.replace("{pg_dump}", call)
    (tools / "pg_dump").write_text(
        f'#!/bin/sh\nOUT={folder}/out\n[ "$1" = --version ] && exec {call}\nexec 2>/dev/null\n{script}\nexit 0\n'
    )
    (tools / "pg_dump").chmod(0o700)
    server.site.configure(tools_dir=str(tools))


@pytest.mark.parametrize("harm", WRAPPERS)
def test_a_wrapper_that_ends_well(own_rows: PostgreSQLServer, tmp_path: Path, harm: str) -> None:
    wrap(own_rows, tmp_path, WRAPPERS[harm])
    with pytest.raises(DumpFailed, match=r"'default' failed: .*Nothing was published"):
        create_backup()
    assert own_rows.stored() == []
    answer = own_rows.site.call("backup_create")
    assert answer.code == 1
    assert "set -o pipefail" in answer.stderr


def test_a_wrapper_that_hands_on_everything(own_rows: PostgreSQLServer, tmp_path: Path) -> None:
    wrap(own_rows, tmp_path, "{pg_dump} | dd bs=777 | cat")
    create_backup()
    assert len(own_rows.stored()) == 2


def test_a_program_that_hangs(postgresql_server: PostgreSQLServer, tmp_path: Path) -> None:
    wrap(postgresql_server, tmp_path, "sleep 600")
    postgresql_server.site.configure(tools_dir=str(tmp_path / "tools"), dump_timeout=1)
    answer = postgresql_server.site.call("backup_create", "default")
    assert answer.code == 1
    assert "had not ended after 1 second, the limit that dump_timeout sets" in answer.stderr
    assert postgresql_server.stored() == []
