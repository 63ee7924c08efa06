"""How much memory a stream takes, whatever its length; a stream that takes more than it may ends with an error."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.s3_server import S3Server

# Both ways through the pipeline: noise, which no queue can shrink, and zeros, of which a few stored bytes unpack to a
# flood.
_ARCHIVE = """
import random, resource, sys
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
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

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

def peak(who):
    return resource.getrusage(who).ru_maxrss // 1024

size, path, key = int(sys.argv[1]), sys.argv[2], "correct horse battery staple"
block = os.urandom(1_000_000)
before = peak(resource.RUSAGE_SELF)
with open(path, "wb") as sink, open_encryptor(key) as encryptor, encryptor.into(sink) as writer:
    for _ in range(size // len(block)):
        writer.write(block)
with open(path, "rb") as stored, decrypt(stored, encryptor.facts, DecryptionKeys((key,))) as plain:
    total = 0
    while found := plain.read(1_000_000):
        total += len(found)
assert total == size
print(max(peak(resource.RUSAGE_SELF), peak(resource.RUSAGE_CHILDREN)) - before)
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
with current_project().storage.publish("shop.gz", expected_size=size) as sink:
    pack(Noise(size), sink, "gzip")
# Of this program alone; getrusage would count in what its parent held when it started it.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


def main(turns: int = 1, scale: float = 1.0) -> None:
    print(f"memory that a stream takes, most of {turns} turns")
    excess = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        server = S3Server(Path(name) / "s3")
        try:
            for what, limit, argv in _streams(Path(name), server, scale):
                most = max(_measure(argv) for _ in range(turns))
                print(f"{what:54}{most:5} MB, at most {limit} MB")
                excess += [what] if most > limit else []
        finally:
            server.stop()
    if excess:
        sys.exit(f"more memory than promised: {', '.join(excess)}")


def _streams(folder: Path, server: S3Server, scale: float) -> Iterator[tuple[str, int, list[str]]]:
    """What is streamed, the MB it may take, and the program that prints how many it took."""
    size, path = str(int(300_000_000 * scale)), str(folder / "stored")
    for method, content in (("gzip", "noise"), ("gzip", "zeros"), ("none", "noise")):
        yield f"{method}, {content}, packed and unpacked", 60, [_ARCHIVE, size, path, method, content]
    yield "encrypted and decrypted", 60, [_ENCRYPTION, size, path]
    for length in (size, str(int(1_000_000_000 * scale))):
        script = _UPLOAD.format(parameters=server.parameters(server.new_bucket()))
        yield f"{int(length) / 1e6:,.0f} MB to S3, Django and all", 150, [script, length]


def _measure(argv: list[str]) -> int:
    done = subprocess.run([sys.executable, "-c", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stdout)
