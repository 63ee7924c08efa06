"""PostgreSQL's programs: those of the server's own major version, else of the lowest newer one.

A newer pg_dump reads an older server; an older one refuses a newer server. What a newer one writes may hold settings
that an older server does not know.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django_cfg.backup.engines.postgresql.error_text import STDERR_LINES, remove_row_data
from django_cfg.backup.engines.postgresql.libpq import build_environment, in_english, list_secrets
from django_cfg.backup.errors import ToolNotFound, ToolTooOld
from django_cfg.backup.process.child import Child
from django_cfg.backup.process.environment import child_environment

# Packages install the programs of each major version in one of these folders. Debian's /usr/bin/pg_dump is a wrapper
# that chooses by the local clusters, not by the server it connects to, so PATH comes last.
_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


# Minor version of each major one; newer ones all do.
_RESTRICTED_SINCE = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}


@dataclass(frozen=True)
class Tools:
    """The programs of one folder."""

    folder: Path
    version: str  # of pg_dump, as "15.18"

    @property
    def major(self) -> int:
        return parse_major(self.version)

    @property
    def can_restrict_psql(self) -> bool:
        """Whether pg_restore's scripts keep psql from running commands of the archive (CVE-2025-8714)."""
        minor = int(self.version.partition(".")[2] or 0) if re.fullmatch(r"\d+\.\d+", self.version) else 0
        return self.major > max(_RESTRICTED_SINCE) or minor >= _RESTRICTED_SINCE.get(self.major, minor + 1)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def list_missing(self, *names: str) -> list[str]:
        return [name for name in names if not os.access(self.path(name), os.X_OK)]


def parse_major(version: str) -> int:
    """Return 15 for "15.18", "15beta1" and "15.18 (Debian 15.18-0+deb12u1)"."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def choose_tools(wanted: int, tools_dir: str | None, purpose: str) -> Tools:
    """Return the tools of the major version *wanted*, else the lowest newer ones.

    :param purpose: begins the message, as "To dump the database 'default'".
    :raises ToolNotFound: there are none.
    :raises ToolTooOld: all are older.
    """
    found = sorted(_find_installed(tools_dir), key=lambda tools: tools.major)
    where = f"in tools_dir ({tools_dir})" if tools_dir else "on this machine"
    if not found:
        raise ToolNotFound(
            f"{purpose}, pg_dump is needed, and there is none {where}: install postgresql-client-{wanted} "
            f"({'or correct' if tools_dir else 'or set'} BackupConfig.tools_dir)."
        )
    if tools := next((tools for tools in found if tools.major >= wanted), None):
        return tools
    raise ToolTooOld(
        f"{purpose}, the programs of PostgreSQL {wanted} are needed, and the newest {where} are of "
        f"{found[-1].version}: install postgresql-client-{wanted} or set BackupConfig.tools_dir."
    )


def describe_mismatch(tools: Tools, server_version: str) -> str:
    """Return a warning if the programs are newer than the server; empty if they have its version."""
    if tools.major == parse_major(server_version):
        return ""
    return (
        f"pg_dump {tools.version} is newer than the server ({server_version}): what it writes may not restore into an "
        f"older server. Install postgresql-client-{parse_major(server_version)}."
    )


def start_program(
    argv: Sequence[str],
    *,
    settings: Mapping[str, Any] | None = None,
    feed: bool = False,
    limit: int | None = None,
    said: Callable[[str], str] = remove_row_data,
) -> Child:
    """Start one of PostgreSQL's programs, whose errors then hold neither a row nor a secret.

    :param settings: Django's, of the database to connect to; None: the program connects to none.
    :param limit: seconds after which it is killed; None: never.
    :param said: removes the rows from what it prints.
    """
    if settings is None:
        return Child(argv, env=in_english(child_environment()), feed=feed, said=said, lines=STDERR_LINES)
    env, secrets = build_environment(settings), list_secrets(settings)
    return Child(argv, env=env, feed=feed, secrets=secrets, said=said, lines=STDERR_LINES, limit=limit)


def _find_installed(tools_dir: str | None) -> Iterator[Tools]:
    for folder in map(Path, tools_dir.split(os.pathsep)) if tools_dir else _list_usual_folders():
        program = folder / "pg_dump"
        if program.is_file() and (version := _read_version(program)):
            yield Tools(folder, version)


def _list_usual_folders() -> list[Path]:
    folders = [found for pattern in _FOLDERS for found in Path("/").glob(pattern.lstrip("/"))]
    on_path = shutil.which("pg_dump")
    return [*folders, *([Path(on_path).parent] if on_path else [])]


def _read_version(program: Path) -> str:
    """Return "15.18" of "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"; empty if the program does not run."""
    try:
        done = subprocess.run(
            [program, "--version"], env=child_environment(), capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\(PostgreSQL\) (\S+)", done.stdout)
    return found[1] if found else ""
