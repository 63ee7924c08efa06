"""What of settings.STORAGES no message may show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_SECRET = re.compile(r"key|secret|token|password|passwd|credential|sas|connection_string", re.IGNORECASE)


def secrets_of_options(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of *options*, those of one alias, whose names say that they are secret."""
    for name, value in options.items():
        if isinstance(value, str) and _SECRET.search(name):
            yield value
