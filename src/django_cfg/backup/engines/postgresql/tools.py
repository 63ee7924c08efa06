"""PostgreSQL's programs: the server's own major version, else the lowest newer one.

A newer pg_dump reads an older server, an older one refuses a newer server; what a newer one writes
may hold settings that an older server does not know.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django_cfg.backup.errors import ToolNotFound, ToolTooOld

# Where packages keep the programs of each major version side by side. Debian's /usr/bin/pg_dump is a
# wrapper that chooses by the local clusters, not by the server asked for, so it comes last.
_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True)
class Tools:
    """The programs of one folder."""

    folder: Path
    version: str  # of pg_dump, as "15.18"

    @property
    def major(self) -> int:
        return major(self.version)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def missing(self, *names: str) -> list[str]:
        return [name for name in names if not os.access(self.path(name), os.X_OK)]


def major(version: str) -> int:
    """15 of "15.18", of "15beta1" and of "15.18 (Debian 15.18-0+deb12u1)"."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def choose(wanted: int, tools_dir: str | None, purpose: str) -> Tools:
    """The tools of major version *wanted*, else the lowest newer ones.

    :param purpose: begins the message, as "To dump the database 'default'".
    :raises ToolNotFound: there are none.
    :raises ToolTooOld: all are older.
    """
    found = sorted(_installed(tools_dir), key=lambda tools: tools.major)
    where = f"in tools_dir ({tools_dir})" if tools_dir else "on this machine"
    if not found:
        raise ToolNotFound(
            f"{purpose}, pg_dump is needed, and there is none {where}: install postgresql-client-{wanted} "
            f"({'or correct' if tools_dir else 'or set'} BackupConfig.tools_dir)."
        )
    fitting = [tools for tools in found if tools.major >= wanted]
    if not fitting:
        raise ToolTooOld(
            f"{purpose}, the programs of PostgreSQL {wanted} are needed, and the newest {where} are of "
            f"{found[-1].version}: install postgresql-client-{wanted} or set BackupConfig.tools_dir."
        )
    return fitting[0]


def newer_than(tools: Tools, server_version: str) -> str:
    """What to know when the programs are newer than the server; empty when they fit it."""
    if tools.major == major(server_version):
        return ""
    return (
        f"pg_dump {tools.version} is newer than the server ({server_version}): what it writes may not restore into an "
        f"older server. Install postgresql-client-{major(server_version)}."
    )


def _installed(tools_dir: str | None) -> Iterator[Tools]:
    for folder in map(Path, tools_dir.split(os.pathsep)) if tools_dir else _usual_folders():
        program = folder / "pg_dump"
        if program.is_file() and (version := _version(program)):
            yield Tools(folder, version)


def _usual_folders() -> list[Path]:
    beside = [found for pattern in _FOLDERS for found in Path("/").glob(pattern.lstrip("/"))]
    on_path = shutil.which("pg_dump")
    return [*beside, *([Path(on_path).parent] if on_path else [])]


def _version(program: Path) -> str:
    """ "15.18" of "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"; empty when it does not run."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\(PostgreSQL\) (\S+)", done.stdout)
    return found[1] if found else ""
