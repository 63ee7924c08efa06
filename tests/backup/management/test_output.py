"""Where a command writes: what happens to the stream does not end its work."""

from __future__ import annotations

import io
from pathlib import Path

from django_cfg.backup.management.output.stream import LastingOutput


def test_a_stream_that_was_closed_is_written_to_no_more() -> None:
    stream = io.StringIO()
    output = LastingOutput(stream)
    output.write("one")
    stream.close()
    for _ in range(2):
        output.write("two")
    assert (output.error, output.isatty()) == (None, False)


def test_a_full_disk_is_remembered() -> None:
    with Path("/dev/full").open("w") as stream:
        output = LastingOutput(stream)
        output.write("one")
    assert "No space left" in str(output.error)


def test_the_encoding_is_that_of_the_stream(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="latin-1") as stream:
        assert LastingOutput(stream).encoding == "latin-1"
    assert LastingOutput(None).encoding == "utf-8"
