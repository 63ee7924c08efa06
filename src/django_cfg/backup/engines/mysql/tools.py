"""The programs that dump and load: MariaDB's for a MariaDB server, MySQL's for a MySQL server.

Packages of one vendor also install their programs under the names of the other, so each program is asked for its
vendor.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from django_cfg.backup.errors import ToolNotFound
from django_cfg.backup.process.environment import child_environment

# The program of the server's vendor, then the other vendor's.
DUMP_TOOLS = {"mariadb": ("mariadb-dump", "mysqldump"), "mysql": ("mysqldump", "mariadb-dump")}
CLIENTS = {"mariadb": ("mariadb", "mysql"), "mysql": ("mysql", "mariadb")}
_PACKAGE = {"mariadb": "mariadb-client", "mysql": "mysql-client"}


@dataclass(frozen=True)
class Tool:
    """One program."""

    path: str
    vendor: str  # "mysql" or "mariadb"
    version: str  # as "10.11.19"
    options: str  # what --help prints

    @property
    def name(self) -> str:
        return Path(self.path).name

    def has_option(self, option: str) -> bool:
        """Return True if the program has the long option *option*, as ``--sandbox``."""
        return re.search(rf"(?m)^\s+(-., )?{re.escape(option)}\b", self.options) is not None


def find_tool(programs: Mapping[str, Sequence[str]], vendor: str, tools_dir: str | None, purpose: str) -> Tool:
    """Return the one of *programs* that was made for a server of *vendor*, under either name; else the other one.

    :param purpose: begins the message, as "To dump the database 'default'".
    :raises ToolNotFound: there is none.
    """
    names = programs[vendor]
    found = [tool for name in names if (tool := _find_installed(name, tools_dir))]
    if not found:
        where = f"in tools_dir ({tools_dir})" if tools_dir else "on this machine"
        raise ToolNotFound(
            f"{purpose}, {names[0]} is needed, and there is none {where}: install {_PACKAGE[vendor]} "
            f"({'or correct' if tools_dir else 'or set'} BackupConfig.tools_dir)."
        )
    return next((tool for tool in found if tool.vendor == vendor), found[0])


def describe_mismatch(tool: Tool, vendor: str, version: str) -> str:
    """Return a warning if *tool* was not made for the server; else an empty text."""
    server = f"{'MariaDB' if vendor == 'mariadb' else 'MySQL'} {version}"
    if tool.vendor != vendor:
        return f"{tool.name} is not made for {server}, and this pair is untested: install {_PACKAGE[vendor]}."
    if release_series(tool.version) < release_series(version):
        return (
            f"{tool.name} {tool.version} is older than the server ({server}) and may not know everything in the "
            f"database: install the {_PACKAGE[vendor]} of the server's series."
        )
    return ""


def release_series(version: str) -> tuple[int, ...]:
    """Return ``(10, 11)`` of "10.11.19"; all releases of one series have the same features."""
    return tuple(int(part) for part in version.split(".")[:2])


def _find_installed(name: str, tools_dir: str | None) -> Tool | None:
    path = shutil.which(name, path=tools_dir or None)
    if not path:
        return None
    banner = _run(path, "--version")
    # "Distrib 10.11.19-MariaDB", "from 11.4.2-MariaDB", "Ver 8.0.36"
    version = re.search(r"(?:Distrib|from) (\d+\.\d+\.\d+)", banner) or re.search(r"Ver (\d+\.\d+\.\d+)", banner)
    if not version:
        return None
    return Tool(path, "mariadb" if "mariadb" in banner.lower() else "mysql", version[1], _run(path, "--help"))


def _run(path: str, option: str) -> str:
    """Return what a program prints, without any option file; nothing if it does not run."""
    argv = [path, "--no-defaults", option]
    try:
        return subprocess.run(
            argv, env=child_environment(), capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
