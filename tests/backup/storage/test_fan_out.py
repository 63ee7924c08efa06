"""One stream into several storages: one that fails is dropped, a slow one sets the pace, an error leaves nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from django_cfg.backup.errors import NameTaken, StorageError
from django_cfg.backup.pipeline.stream import Writable
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.storage import fan_out
from django_cfg.backup.storage.fan_out import publish_in_all
from django_cfg.backup.storage.local import LocalStorage
from tests.support.processes import wait_until
from tests.support.tracers import ending_threads

pytestmark = pytest.mark.usefixtures("nothing_left_running")
BLOCK = b"x" * (1 << 20)


class Gated(LocalStorage):
    """Writes nothing before the gate is open; what it was given is counted."""

    def __init__(self, root: Path, *, fails: bool = False) -> None:
        super().__init__(root)
        self.gate, self.written, self._fails = threading.Event(), 0, fails
        self.interrupted = False

    @contextmanager
    def publish(self, key: str, *, expected_size: int = 0) -> Iterator[Writable]:
        with super().publish(key, expected_size=expected_size) as sink:
            self._sink = sink
            yield self

    def write(self, block: bytes) -> int:  # type: ignore[override]  # of a sink
        self.gate.wait(30)
        if self._fails or self.interrupted:
            raise StorageError(f"{self.location} has no more room.")
        self.written += len(block)
        return self._sink.write(block)

    def interrupt(self) -> None:
        self.interrupted = True
        self.gate.set()


@pytest.fixture
def two(tmp_path: Path) -> dict[str, LocalStorage]:
    return {"main": LocalStorage(tmp_path / "main"), "offsite": LocalStorage(tmp_path / "offsite")}


def objects(storage: LocalStorage) -> list[str]:
    return sorted(path.name for path in storage.root.rglob("*") if path.is_file())


def test_a_place_whose_thread_never_begins(two: dict[str, LocalStorage]) -> None:
    """It is dropped, and nothing waits for it for ever."""

    def publish() -> fan_out.FanOut:
        with publish_in_all(two, "a") as sink:
            sink.write(BLOCK)
        return sink

    with ending_threads("backup-place", times=5):
        sink = InThread(publish, "publishing").result(30, None)
    assert sink
    assert sink.published == ["offsite"]
    assert "ended 5 times before it began" in str(sink.failures["main"])
    assert (objects(two["main"]), objects(two["offsite"])) == ([], ["a"])


def test_all_get_the_same(two: dict[str, LocalStorage]) -> None:
    with publish_in_all(two, "a") as sink:
        for number in range(20):
            sink.write(bytes([number]) * 100_000)
    assert sink.published == ["main", "offsite"]
    assert two["main"].read("a") == two["offsite"].read("a")
    assert len(two["main"].read("a")) == 2_000_000


def test_a_buffer_that_is_used_again(two: dict[str, LocalStorage]) -> None:
    buffer = bytearray(b"first")
    with publish_in_all(two, "a") as sink:
        sink.write(memoryview(buffer))  # type: ignore[arg-type]
        buffer[:] = b"other"
    assert two["offsite"].read("a") == b"first"


def test_one_that_refuses_the_name(two: dict[str, LocalStorage]) -> None:
    two["main"].write("a", b"another")
    with publish_in_all(two, "a") as sink:
        sink.write(b"new")
    assert isinstance(sink.failures["main"], NameTaken)
    assert (two["main"].read("a"), two["offsite"].read("a")) == (b"another", b"new")


def test_one_that_fails_on_the_way(tmp_path: Path, two: dict[str, LocalStorage]) -> None:
    """The other one does not wait for it any more."""
    failing = Gated(tmp_path / "failing", fails=True)
    failing.gate.set()
    with publish_in_all({"main": failing, "offsite": two["offsite"]}, "a") as sink:
        for _ in range(20):
            sink.write(BLOCK)
    assert list(sink.failures) == ["main"]
    assert objects(failing) == []
    assert two["offsite"].stat("a").size == 20 << 20  # type: ignore[union-attr]


def test_all_fail(tmp_path: Path) -> None:
    both = {name: Gated(tmp_path / name, fails=True) for name in ("main", "offsite")}
    for storage in both.values():
        storage.gate.set()
    with pytest.raises(StorageError, match="main has no more room"), publish_in_all(both, "a") as sink:
        sink.write(BLOCK)
    assert objects(both["main"]) == objects(both["offsite"]) == []


def test_the_slowest_sets_the_pace(tmp_path: Path, two: dict[str, LocalStorage]) -> None:
    """A bounded number of bytes waits for it."""
    slow = Gated(tmp_path / "slow")
    handed_over = 0

    def write() -> None:
        nonlocal handed_over
        with publish_in_all({"main": two["main"], "slow": slow}, "a") as sink:
            for _ in range(40):
                sink.write(BLOCK)
                handed_over += len(BLOCK)

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: handed_over >= fan_out._AHEAD)
    writer.join(0.3)
    assert handed_over <= fan_out._AHEAD + 2 * len(BLOCK)
    slow.gate.set()
    writer.join()
    assert slow.written == 40 << 20


def test_an_error_leaves_nothing_and_ends_a_write_that_waits(tmp_path: Path, two: dict[str, LocalStorage]) -> None:
    slow = Gated(tmp_path / "slow")
    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        publish_in_all({"main": two["main"], "slow": slow}, "a") as sink,
    ):
        sink.write(BLOCK)
        raise KeyboardInterrupt
    assert slow.interrupted
    assert objects(two["main"]) == objects(slow) == []


def test_what_one_has_published_when_it_is_interrupted_is_withdrawn(
    tmp_path: Path, two: dict[str, LocalStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last moment, while the slow one still writes."""
    slow = Gated(tmp_path / "slow")

    def interrupted(self: fan_out.FanOut) -> None:
        for lane in self._lanes.values():
            lane.end()
        wait_until(lambda: two["main"].stat("a") is not None)
        raise KeyboardInterrupt

    monkeypatch.setattr(fan_out.FanOut, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt), publish_in_all({"main": two["main"], "slow": slow}, "a") as sink:
        sink.write(b"x")
    assert objects(two["main"]) == objects(slow) == []
