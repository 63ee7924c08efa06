"""A private home for gpg: short-lived, on a short path, its agent ended with it."""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django_cfg.backup.pipeline.encryption.gpg import program
from django_cfg.backup.process.environment import child_environment
from django_cfg.backup.process.private_dir import private_dir

_PREFIX = "django-cfg-gpg-"
_LONGEST = 60  # bytes: the agent's socket lies within, and the path of a socket has at most 107
_log = logging.getLogger("django_cfg.backup")


@contextmanager
def private_gpg_home() -> Iterator[Path]:
    """An empty home, removed with all keys in it; homes of killed processes are removed first.

    :raises ToolNotFound: there is no gpg to use it.
    :raises StorageError: none can be made.
    """
    program()
    with private_dir(_PREFIX, _place(), _end_daemons) as home:
        yield home


def _place() -> Path:
    usual = Path(tempfile.gettempdir())
    return usual if len(bytes(usual)) <= _LONGEST else Path("/tmp")  # noqa: S108  the folder in it is private


def _end_daemons(home: Path) -> None:
    """End the agent that gpg may have started for *home*; it would outlive us."""
    try:
        subprocess.run(
            ["gpgconf", "--homedir", home, "--kill", "all"],
            env=child_environment(),
            capture_output=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        # The agent also ends when its home is gone.
        _log.warning("The gpg-agent of %s could not be ended (%s).", home, error)
