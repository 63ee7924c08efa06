"""The S3 server of the tests, and the proxy in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.faulty_s3_proxy import FaultyProxy
from tests.support.s3_server import S3Server


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """A new, empty bucket."""
    return s3_server.new_bucket()


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultyProxy]:
    """A proxy without faults yet."""
    proxy = FaultyProxy(s3_server)
    yield proxy
    proxy.stop()
