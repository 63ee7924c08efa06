"""Child processes, with real programs: every failure is raised, and no process is left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.errors import StorageError, ToolFailed, ToolNotFound, ToolTimedOut
from django_cfg.backup.pipeline.filter import Filter
from django_cfg.backup.process import child
from django_cfg.backup.process.child import Child
from tests.support.processes import children, is_running, wait_until


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


class TestChild:
    def test_output_is_read(self) -> None:
        """Its stdout is a pipe; exit code 0 is no error."""
        with Child(shell("echo some words")) as child:
            assert child.stdout.read() == b"some words\n"
            child.wait()

    def test_input_arrives(self) -> None:
        with Child(["cat"], feed=True) as child:
            child.stdin.write(b"some words")
            child.stdin.close()
            assert child.stdout.read() == b"some words"

    def test_without_input_stdin_is_empty(self) -> None:
        """A program that asks on stdin gets end of file, not the operator's terminal."""
        with Child(["cat"]) as child:
            assert child.stdout.read() == b""

    def test_the_last_lines_of_stderr_are_in_the_error_without_secrets(self) -> None:
        script = shell("echo as $PASSWORD >&2; exit 3")
        with (
            pytest.raises(ToolFailed, match=r"exit code 3: as \*\*\*$") as failure,
            Child(script, env={**os.environ, "PASSWORD": "hunter2"}, secrets=["hunter2"]) as child,
        ):
            child.wait()
        assert failure.value.last_words == "as ***"

    def test_the_given_environment_is_used(self) -> None:
        """It carries the secrets, and nothing else does."""
        with Child(["/usr/bin/env"], env={"PGPASSWORD": "secret"}) as child:
            assert child.stdout.read() == b"PGPASSWORD=secret\n"

    @pytest.mark.parametrize("code", [1, 3, 255])
    def test_any_other_exit_code_is_a_failure(self, code: int) -> None:
        """The error names the program, its exit code and its last lines."""
        with (
            Child(shell(f"echo it went wrong >&2; exit {code}")) as child,
            pytest.raises(ToolFailed, match=f"^sh ended with exit code {code}: it went wrong$") as caught,
        ):
            child.wait()
        assert (caught.value.tool, caught.value.tool_exit_code) == ("sh", code)
        assert caught.value.last_words == "it went wrong"

    def test_the_error_says_that_a_program_failed_without_output(self) -> None:
        with Child(["false"]) as child, pytest.raises(ToolFailed, match="it said nothing"):
            child.wait()

    def test_death_by_a_signal_is_a_failure(self) -> None:
        """The kernel's out-of-memory killer looks like this."""
        with Child(shell("kill -9 $$")) as child, pytest.raises(ToolFailed, match="killed by signal 9"):
            child.wait()

    def test_an_interruption_right_after_the_start_ends_the_program(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The signal may come before the caller has a reference to the program."""
        pids: list[int] = []

        def interrupt(group: int) -> None:
            pids.append(group)
            raise KeyboardInterrupt

        monkeypatch.setattr("django_cfg.backup.process.child.Watchdog", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Child(["sleep", "60"], feed=True)
        assert not is_running(pids[0])

    @pytest.mark.parametrize("step", ["_started", "Watchdog"])
    def test_a_signal_during_the_start_ends_the_program(self, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its watchdog ends too; no other process would end the two."""
        before, begun = children(), []
        begin = getattr(child, step)

        def signalled(*args: Any, **options: Any) -> Any:
            started = begin(*args, **options)
            begun.append(started)
            signal.raise_signal(signal.SIGINT)
            return started

        monkeypatch.setattr(child, step, signalled)
        with pytest.raises(KeyboardInterrupt):
            Child(["sleep", "60"], feed=True)
        assert begun
        assert children() <= before

    def test_only_the_last_lines_of_stderr_are_kept(self) -> None:
        """A million lines of stderr are read to the end, without blocking the program and without keeping them."""
        with Child(shell("seq 100000 >&2; exit 1")) as child, pytest.raises(ToolFailed) as caught:
            child.wait()
        assert caught.value.last_words.splitlines() == [str(number) for number in range(99_981, 100_001)]

    def test_stderr_in_another_encoding_is_in_the_error(self) -> None:
        with Child(shell(r"printf 'caf\351' >&2; exit 1")) as child, pytest.raises(ToolFailed, match="caf\ufffd"):
            child.wait()

    @pytest.mark.parametrize("kind", ["missing", "not executable", "below a file"])
    def test_a_program_that_cannot_be_started_is_named(self, kind: str, tmp_path: Path) -> None:
        plain_file = tmp_path / "tool"
        plain_file.write_text("no program")
        path = {"missing": tmp_path / "nosuch", "not executable": plain_file, "below a file": plain_file / "tool"}[kind]
        with pytest.raises(ToolNotFound, match=str(path)):
            Child([str(path)])

    def test_an_exception_in_the_block_kills_the_program_and_its_children(self) -> None:
        """The children of a dump program must not continue to read the database."""
        with pytest.raises(KeyboardInterrupt), Child(shell("sleep 600 & echo $! $$; wait")) as child:  # noqa: PT012
            family = [int(pid) for pid in child.stdout.readline().split()]
            assert all(map(is_running, family))
            raise KeyboardInterrupt
        wait_until(lambda: not any(map(is_running, family)))

    def test_children_of_an_ended_program_are_killed_too(self) -> None:
        """As of a wrapper script that ended before its worker, which still holds the pipes."""
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt), Child(shell("sleep 5 & echo $!")) as child:  # noqa: PT012
            worker = int(child.stdout.readline())
            wait_until(lambda: child._process.poll() is not None)
            raise KeyboardInterrupt
        assert time.monotonic() - started < 4, "it waited for the worker instead of ending it"
        wait_until(lambda: not is_running(worker), seconds=4)  # not a direct child: its end is not waited for

    def test_a_program_that_ignores_sigterm_is_killed(self) -> None:
        with pytest.raises(KeyboardInterrupt), Child(shell("trap '' TERM INT; echo $$; sleep 600")) as child:  # noqa: PT012
            pid = int(child.stdout.readline())
            raise KeyboardInterrupt
        assert not is_running(pid)

    def test_the_program_has_its_own_process_group(self) -> None:
        """Ctrl-C at the terminal reaches only the parent, which ends the program in order."""
        with Child(shell("echo $$; sleep 600")) as child:
            assert os.getpgid(int(child.stdout.readline())) != os.getpgrp()


class TestFilter:
    def test_the_output_of_the_filter_reaches_the_sink(self) -> None:
        """Completely and in order, when the block ends."""
        sink = io.BytesIO()
        with Filter(["tr", "a-z", "A-Z"], sink) as upper:
            for _ in range(1000):
                upper.write(b"some words " * 100)
        assert sink.getvalue() == b"SOME WORDS " * 100_000

    def test_a_program_that_fails_at_the_end_fails_the_block(self) -> None:
        """Although all its output has arrived."""
        with (
            pytest.raises(ToolFailed, match="sh ended with exit code 4: no more"),
            Filter(shell("cat; echo no more >&2; exit 4"), io.BytesIO()) as program,
        ):
            program.write(b"some words")

    def test_the_error_of_a_dying_program_holds_its_stderr(self) -> None:
        """It is not the broken pipe that follows."""
        with (  # noqa: PT012
            pytest.raises(ToolFailed, match="sh ended with exit code 4: no more"),
            Filter(shell("head -c 100; echo no more >&2; exit 4"), io.BytesIO()) as program,
        ):
            for _ in range(1000):
                program.write(bytes(10_000))

    def test_a_program_that_stops_reading_with_exit_code_0_is_a_failure(self) -> None:
        """Half of the dump is unread: the archive would be incomplete."""
        with pytest.raises(BrokenPipeError), Filter(shell("head -c 100"), io.BytesIO()) as program:  # noqa: PT012
            for _ in range(1000):
                program.write(bytes(10_000))

    def test_a_sink_that_fails_ends_the_program(self) -> None:
        """The program meets a broken pipe; the sink's error is raised."""

        class Full:
            def write(self, block: bytes) -> int:
                raise StorageError("the storage is full")

        with pytest.raises(StorageError, match="the storage is full"), Filter(["cat"], Full()) as program:  # noqa: PT012
            for _ in range(1000):
                program.write(bytes(10_000))

    def test_an_exception_in_the_block_kills_the_filter(self) -> None:
        """Even one that is still writing."""
        sink = io.BytesIO()
        with pytest.raises(KeyboardInterrupt), Filter(shell("echo $$; yes & wait"), sink):  # noqa: PT012
            wait_until(lambda: b"\n" in sink.getvalue())
            raise KeyboardInterrupt
        assert not is_running(int(sink.getvalue().split()[0]))

    def test_a_killed_program_is_a_failure(self, tmp_path: Path) -> None:
        pid_file = tmp_path / "pid"
        script = shell(f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 600")
        with pytest.raises(ToolFailed, match="killed by signal 15"), Filter(script, io.BytesIO()):  # noqa: PT012
            wait_until(pid_file.exists)
            os.kill(int(pid_file.read_text()), signal.SIGTERM)


def test_a_program_that_exceeds_its_time_limit_is_killed() -> None:
    """Its children are ended with it."""
    with Child(["sh", "-c", "sleep 600 & wait"], limit=1) as child:
        assert child.stdout.read() == b""
        with pytest.raises(ToolTimedOut, match="after 1 second"):
            child.wait()


def test_a_program_that_ends_within_its_time_limit() -> None:
    with Child(["echo", "here"], limit=600) as child:
        assert child.stdout.read() == b"here\n"
        child.wait()
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_a_failure_before_the_time_limit_is_the_programs_own() -> None:
    with Child(["false"], limit=600) as child, pytest.raises(ToolFailed):
        child.wait()


def test_what_a_failed_program_has_started_is_ended() -> None:
    """It holds the program's stderr; pg_restore's workers go on until their statement ends."""
    begun = time.monotonic()
    with Child(["sh", "-c", "sleep 600 & echo $!; kill -9 $$"]) as child:
        other = int(child.stdout.readline())
        with pytest.raises(ToolFailed, match="killed by signal 9"):
            child.wait()
        wait_until(lambda: not is_running(other))
    assert time.monotonic() - begun < 60


# A child with a child of its own, neither of which writes anything that a broken pipe could end.
PROGRAM = """
from django_cfg.backup.process.child import Child
with Child(["sh", "-c", "sleep 600 & echo $! $$; wait"]) as child:
    print(child.stdout.readline().decode(), flush=True)
    child.wait()
"""


def test_killing_a_process_kills_all_its_descendants() -> None:
    """An RQ worker ends its work horse with SIGKILL: no pg_dump may continue to hold its snapshot."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        process.kill()
    wait_until(lambda: not any(map(is_running, pids)))
