"""The contract of every storage. Tests of a new storage subclass StorageContract and define its two fixtures."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.process.pipes import BLOCK
from django_cfg.backup.storage.base import Storage

BIG = random.Random(26).randbytes(2 * BLOCK + 5)
LEADING_OUT = ["../escaped", "a/../../escaped", "a/..", "/escaped", "/tmp/escaped", ".."]
ENDS = [ValueError, StorageError, KeyboardInterrupt, SystemExit, GeneratorExit]


class StorageContract:
    """Define ``storage``, an empty one, and ``reopen``: Python source that opens the same storage."""

    @pytest.fixture
    def storage(self) -> Storage:
        raise NotImplementedError

    @pytest.fixture
    def reopen(self, storage: Storage) -> str:
        raise NotImplementedError

    @pytest.fixture
    def another_process(self, reopen: str) -> Callable[[str], subprocess.Popen[str]]:
        """Start a process that runs some Python with the same ``storage``."""

        def start(script: str) -> subprocess.Popen[str]:
            argv = [sys.executable, "-c", f"import os, time\n{reopen}\n{script}"]
            return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)

        return start

    class TestPublish:
        @pytest.mark.parametrize("content", [b"", b"some words", BIG], ids=["empty", "words", "big"])
        @pytest.mark.parametrize("expected_size", [0, 10, 10_000_000])
        def test_a_published_object_can_be_read(self, storage: Storage, content: bytes, expected_size: int) -> None:
            """Whether or not its expected size was right."""
            with storage.publish("shop.gz", expected_size=expected_size) as sink:
                for start in range(0, len(content), 500_000):
                    sink.write(content[start : start + 500_000])
            assert storage.read("shop.gz") == content

        def test_an_object_appears_only_when_the_block_ends(self, storage: Storage) -> None:
            """Until then no reader sees it."""
            with storage.publish("shop.gz") as sink:
                sink.write(BIG)
                assert storage.stat("shop.gz") is None
                assert list(storage.list()) == []
                with pytest.raises(StorageError), storage.open("shop.gz"):
                    pass
            assert [found.key for found in storage.list()] == ["shop.gz"]

        @pytest.mark.parametrize("kind", ENDS)
        def test_an_exception_leaves_nothing(self, storage: Storage, kind: type[BaseException]) -> None:
            """The exception is raised unchanged, and the name is free again."""
            end = kind("the end")
            with pytest.raises(kind) as caught, storage.publish("shop.gz") as sink:  # noqa: PT012
                sink.write(BIG)
                raise end
            assert caught.value is end
            assert list(storage.list()) == []
            assert not storage.is_taken("shop")
            storage.write("shop.gz", b"again")
            assert storage.read("shop.gz") == b"again"

        def test_a_killed_writer_publishes_nothing(
            self, storage: Storage, another_process: Callable[[str], subprocess.Popen[str]]
        ) -> None:
            """kill -9 in the middle: no object, and none that looks like one."""
            script = """
with storage.publish("shop.gz") as sink:
    sink.write(bytes(3_000_000))
    print("written", flush=True)
    time.sleep(600)
"""
            with another_process(script) as writer:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "written\n"
                writer.kill()
            assert list(storage.list()) == []
            assert storage.stat("shop.gz") is None
            storage.write("shop.gz", b"again")
            assert storage.read("shop.gz") == b"again"

    class TestNothingIsOverwritten:
        def test_a_name_that_exists_is_refused(self, storage: Storage) -> None:
            """The error names the object and the storage; the first object stays."""
            storage.write("shop.gz", b"first")
            with pytest.raises(NameTaken) as caught, storage.publish("shop.gz") as sink:
                sink.write(b"second")
            assert "shop.gz" in str(caught.value)
            assert storage.location in str(caught.value)
            assert storage.read("shop.gz") == b"first"

        def test_a_name_taken_in_the_meantime_is_refused(self, storage: Storage) -> None:
            """The first writer to finish keeps the name."""
            with pytest.raises(NameTaken), storage.publish("shop.gz") as sink:  # noqa: PT012
                sink.write(b"slow")
                storage.write("shop.gz", b"fast")
            assert storage.read("shop.gz") == b"fast"
            assert [found.key for found in storage.list()] == ["shop.gz"]

        def test_exactly_one_of_racing_threads_succeeds(self, storage: Storage) -> None:
            racers = 8
            barrier, won, lost = threading.Barrier(racers), [], []

            def race(number: int) -> None:
                try:
                    with storage.publish("new/shop.gz") as sink:
                        sink.write(b"%d" % number)
                        barrier.wait(timeout=20)
                    won.append(number)
                except NameTaken:
                    lost.append(number)

            threads = [threading.Thread(target=race, args=(number,)) for number in range(racers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert (len(won), len(lost)) == (1, racers - 1)
            assert storage.read("new/shop.gz") == b"%d" % won[0]

        def test_exactly_one_of_racing_processes_succeeds(
            self, storage: Storage, another_process: Callable[[str], subprocess.Popen[str]], tmp_path: Path
        ) -> None:
            start = tmp_path / "start"
            script = f"""
from django_cfg.backup.errors import NameTaken
try:
    with storage.publish("shop.gz") as sink:
        sink.write(b"%d" % os.getpid())
        print("ready", flush=True)
        while not os.path.exists({str(start)!r}): time.sleep(0.001)
    print("won")
except NameTaken:
    print("lost")
"""
            with all_of([another_process(script) for _ in range(4)]) as racers:
                for racer in racers:
                    assert racer.stdout is not None
                    assert racer.stdout.readline() == "ready\n"
                start.touch()
                answers = {racer.pid: racer.communicate()[0] for racer in racers}
            winners = [pid for pid, answer in answers.items() if answer == "won\n"]
            assert len(winners) == 1
            assert list(answers.values()).count("lost\n") == 3
            assert storage.read("shop.gz") == b"%d" % winners[0]

    class TestList:
        def test_an_empty_storage_holds_nothing(self, storage: Storage) -> None:
            """Also a storage that was never written to."""
            assert list(storage.list()) == []

        def test_objects_are_found_in_all_folders(self, storage: Storage) -> None:
            """With their size, and the time they were written, in UTC."""
            keys = {"shop.json": 1, "shop.gz": 2, "2026/shop.gz": 30, "2026/10/25/shop.gz": 400}
            before = datetime.now(UTC) - timedelta(seconds=5)
            for key, size in keys.items():
                storage.write(key, bytes(size))
            found = list(storage.list())
            assert {item.key: item.size for item in found} == keys
            assert all(before < item.modified < datetime.now(UTC) + timedelta(seconds=5) for item in found)
            assert {item.modified.utcoffset() for item in found} == {timedelta(0)}

        def test_an_object_that_is_being_written_is_not_listed(self, storage: Storage) -> None:
            storage.write("folder/done.gz", b"1")
            with storage.publish("folder/shop.gz") as sink:
                sink.write(BIG)
                assert [found.key for found in storage.list()] == ["folder/done.gz"]

        def test_more_objects_than_one_page_are_listed(self, storage: Storage) -> None:
            """Some services list a thousand at a time."""
            keys = {f"{number % 7}/{number:04}.json" for number in range(1_050)}
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(lambda key: storage.write(key, b"x"), keys))
            assert {found.key for found in storage.list()} == keys

    class TestOneObject:
        def test_stat_and_list_agree(self, storage: Storage) -> None:
            storage.write("2026/shop.gz", b"some words")
            assert [storage.stat("2026/shop.gz")] == list(storage.list())

        @pytest.mark.parametrize("key", ["missing.gz", "no/such/folder.gz", "shop.gz/below", "sho", "2026"])
        def test_a_missing_object_has_no_stat_and_cannot_be_read(self, storage: Storage, key: str) -> None:
            """The error names the object and the storage."""
            storage.write("shop.gz", b"x")
            storage.write("2026/shop.gz", b"x")
            found = storage.stat(key)
            assert found is None
            with pytest.raises(StorageError) as caught, storage.open(key) as source:
                source.read()
            assert key in str(caught.value)
            assert storage.location in str(caught.value)

        def test_an_object_is_read_in_pieces(self, storage: Storage) -> None:
            storage.write("shop.gz", BIG)
            pieces = []
            with storage.open("shop.gz") as source:
                while piece := source.read(100_000):
                    assert len(piece) <= 100_000
                    pieces.append(piece)
            assert b"".join(pieces) == BIG

        def test_two_readers_do_not_disturb_each_other(self, storage: Storage) -> None:
            storage.write("shop.gz", b"some words")
            with storage.open("shop.gz") as one, storage.open("shop.gz") as two:
                assert (one.read(4), two.read(4), one.read(), two.read()) == (b"some", b"some", b" words", b" words")

        def test_only_the_given_object_is_deleted(self, storage: Storage) -> None:
            for key in ("shop.gz", "shop.gz.2", "shop", "2026/shop.gz"):
                storage.write(key, b"x")
            storage.delete("shop.gz")
            assert {found.key for found in storage.list()} == {"shop.gz.2", "shop", "2026/shop.gz"}
            storage.write("shop.gz", b"again")
            assert storage.read("shop.gz") == b"again"

        @pytest.mark.parametrize("key", ["missing.gz", "no/such/folder.gz", "shop.gz/below"])
        def test_deleting_a_missing_object_is_no_error(self, storage: Storage, key: str) -> None:
            """Two processes may delete the same object."""
            storage.write("shop.gz", b"x")
            storage.delete(key)
            assert [found.key for found in storage.list()] == ["shop.gz"]

        def test_read_many_returns_errors_with_the_results(self, storage: Storage) -> None:
            """A missing object does not hide the others."""
            storage.write("a.json", b"1")
            storage.write("c.json", b"3")
            found = dict(storage.read_many(["a.json", "b.json", "c.json"]))
            assert (found["a.json"], found["c.json"]) == (b"1", b"3")
            assert isinstance(found["b.json"], StorageError)
            assert "b.json" in str(found["b.json"])
            assert list(found) == ["a.json", "b.json", "c.json"]

    class TestIsTaken:
        @pytest.mark.parametrize("name", ["app", "2026/10/app", "app.v2"])
        @pytest.mark.parametrize("suffix", [".json", ".sqlite3.gz", ".proof.json"])
        def test_a_name_is_taken_by_any_object_of_the_backup(self, storage: Storage, name: str, suffix: str) -> None:
            assert not storage.is_taken(name)
            storage.write(f"{name}{suffix}", b"x")
            assert storage.is_taken(name)
            storage.delete(f"{name}{suffix}")
            assert not storage.is_taken(name)

        @pytest.mark.parametrize("name", ["app", "2026/10/app"])
        def test_a_name_is_taken_by_an_object_that_is_being_written(self, storage: Storage, name: str) -> None:
            """Two runs that begin in the same second get two names."""
            with storage.publish(f"{name}.sqlite3.gz") as sink:
                sink.write(b"x")
                assert storage.is_taken(name)

        @pytest.mark.parametrize("alike", ["app_logs", "app-2", "ap", "my-app", "app2", "2026/app", "APP"])
        def test_a_name_is_not_taken_by_a_similar_name(self, storage: Storage, alike: str) -> None:
            """A comparison by prefix could delete ``app_logs`` in a clean-up of ``app``."""
            storage.write(f"{alike}.sqlite3.gz", b"x")
            with storage.publish(f"{alike}.json") as sink:
                sink.write(b"x")
                assert not storage.is_taken("app")

    class TestKeysOutsideTheStorage:
        @pytest.mark.parametrize("key", LEADING_OUT)
        def test_keys_outside_the_storage_are_refused_by_every_method(self, storage: Storage, key: str) -> None:
            """Nothing outside is written, read or deleted, and the error names the storage."""
            attempts: list[Callable[[], object]] = [
                lambda: storage.write(key, b"x"),
                lambda: storage.read(key),
                lambda: storage.stat(key),
                lambda: storage.delete(key),
                lambda: storage.is_taken(key),
            ]
            for attempt in attempts:
                with pytest.raises(StorageError, match="leads out") as caught:
                    attempt()
                assert storage.location in str(caught.value)
            assert list(storage.list()) == []


@contextmanager
def all_of(processes: list[subprocess.Popen[str]]) -> Iterator[list[subprocess.Popen[str]]]:
    """Yield the processes; end them and close their pipes after the block."""
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            with process:
                pass
