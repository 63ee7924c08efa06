"""How much memory a stream takes, whatever its length; a stream that takes more than it may ends with an error."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import linear_regression

from tests.support.s3_server import S3Server

from benchmarks.measure import Facts, Section

# Both ways through the pipeline: noise, which no queue can shrink, and zeros, of which a few stored bytes unpack to a
# flood.
_ARCHIVE = """
import random, sys
from django_cfg.backup.manifest import Archive
from django_cfg.backup.pipeline.archive import pack, unpack
from django_cfg.backup.pipeline.stream import drain

size, path, method, content = int(sys.argv[1]), *sys.argv[2:]
BLOCK = bytes(1_000_000) if content == "zeros" else random.Random(26).randbytes(1_000_000)

class Dump:
    left = size // len(BLOCK)

    def read(self, size=-1):
        self.left -= 1
        return BLOCK if self.left >= 0 else b""

def peak():
    # MB of this program alone; getrusage would count in what its parent held when it started it.
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024

before = peak()
with open(path, "wb", buffering=0) as sink:
    result = pack(Dump(), sink, method)
archive = Archive(key="a", size=result.stored.size, sha256=result.stored.sha256,
                  raw_size=result.raw.size, raw_sha256=result.raw.sha256)
with open(path, "rb", buffering=0) as stored, unpack(stored, archive, method) as plain:
    drain(plain)
assert archive.raw_size == size
print(peak() - before)
"""
# Both ways through gpg: of ours and of gpg's, which begins as a copy of us.
_ENCRYPTION = """
import os, resource, sys
from django_cfg.backup.pipeline.encryption.decrypt import decrypt
from django_cfg.backup.pipeline.encryption.encrypt import open_encryptor
from django_cfg.backup.pipeline.encryption.keyring import DecryptionKeys

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024

size, path, key = int(sys.argv[1]), sys.argv[2], "correct horse battery staple"
block = os.urandom(1_000_000)
before = peak()
with open(path, "wb") as sink, open_encryptor(key) as encryptor, encryptor.into(sink) as writer:
    for _ in range(size // len(block)):
        writer.write(block)
with open(path, "rb") as stored, decrypt(stored, encryptor.facts, DecryptionKeys((key,))) as plain:
    total = 0
    while found := plain.read(1_000_000):
        total += len(found)
assert total == size
print(max(peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024) - before)
"""
# Django, compression and the parts under way together.
_UPLOAD = """
import sys
from pathlib import Path
import django
from django.conf import settings
settings.configure(BACKUP={{"storage": {parameters!r}}}, INSTALLED_APPS=["django_cfg.backup"], DATABASES={{}})
django.setup()
from django_cfg.backup.pipeline.archive import pack
from django_cfg.backup.services.project.project import current_project
from tests.support.noise import Noise
size = int(sys.argv[1])
with current_project().storage.publish(f"shop{{size}}.gz", expected_size=size) as sink:
    pack(Noise(size), sink, "gzip")
# Of this program alone; getrusage would count in what its parent held when it started it.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


_MOST = {"pipeline": 60, "S3": 150}  # MB
_STEEPEST = 1.0  # MB of memory for each GB of the stream


def sections(size: float, slow: bool) -> Iterator[Section]:
    sizes = [int(gigabytes * size * 1e9) for gigabytes in (0.1, 1.0, *([10.0] if slow else []))]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        server = S3Server(Path(name) / "s3")
        try:
            lines, problems = [], []
            for what, most, argv in _streams(Path(name), server):
                peaks = [_measure(argv(length)) for length in sizes]
                # Below 1 GB the queues may not have been full at once; only the longest shows whether anything grows.
                slope = linear_regression([length / 1e9 for length in sizes], peaks).slope if slow else 0.0
                found = ", ".join(
                    f"{peak} MB for {length / 1e6:,.0f} MB" for length, peak in zip(sizes, peaks, strict=True)
                )
                lines.append(f"{what}: {found}" + (f"; fitted, {slope:.2f} MB more for each GB" if slow else ""))
                if max(peaks) > most or slope > _STEEPEST:
                    problems.append(lines[-1])
        finally:
            server.stop()
    yield Facts("Memory of a stream", lines, problems)


def _streams(folder: Path, server: S3Server) -> Iterator[tuple[str, int, Callable[[int], list[str]]]]:
    """What is streamed, the MB it may take, and the program that prints how many it took for so many bytes."""
    path = str(folder / "stored")
    for method, content in (
        ("gzip", "noise"),
        ("gzip", "zeros"),
        ("zstd", "noise"),
        ("zstd", "zeros"),
        ("none", "noise"),
    ):
        yield f"{method}, {content}, packed and unpacked", _MOST["pipeline"], partial(_archive, path, method, content)
    yield "encrypted and decrypted", _MOST["pipeline"], lambda length: [_ENCRYPTION, str(length), path]
    script = _UPLOAD.format(parameters=server.parameters(server.new_bucket()))
    yield "gzip to S3, Django and all", _MOST["S3"], lambda length: [script, str(length)]


def _archive(path: str, method: str, content: str, length: int) -> list[str]:
    return [_ARCHIVE, str(length), path, method, content]


def _measure(argv: list[str]) -> int:
    done = subprocess.run([sys.executable, "-c", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stdout)
