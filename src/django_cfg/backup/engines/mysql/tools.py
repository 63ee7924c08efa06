"""The programs that dump and load: MariaDB's for a MariaDB server, MySQL's for a MySQL server.

They go by the same names where packages of one stand in for the other, so each is asked whose it is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from django_cfg.backup.errors import ToolNotFound

_DUMP = {"mariadb": ("mariadb-dump", "mysqldump"), "mysql": ("mysqldump", "mariadb-dump")}
_CLIENT = {"mariadb": ("mariadb", "mysql"), "mysql": ("mysql", "mariadb")}
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

    def knows(self, option: str) -> bool:
        """Whether the program has the long option *option*, as ``--sandbox``."""
        return re.search(rf"(?m)^\s+(-., )?{re.escape(option)}\b", self.options) is not None


def dump_tool(vendor: str, tools_dir: str | None, purpose: str) -> Tool:
    """The program that dumps from a server of *vendor*.

    :param purpose: begins the message, as "To dump the database 'default'".
    :raises ToolNotFound: there is none.
    """
    return _choose(_DUMP[vendor], vendor, tools_dir, purpose)


def client_tool(vendor: str, tools_dir: str | None, purpose: str) -> Tool:
    """The program that loads a dump into a server of *vendor*.

    :raises ToolNotFound: there is none.
    """
    return _choose(_CLIENT[vendor], vendor, tools_dir, purpose)


def _choose(names: tuple[str, ...], vendor: str, tools_dir: str | None, purpose: str) -> Tool:
    """The program of the server's own vendor, under whichever name; else what there is."""
    found = [tool for name in names if (tool := _installed(name, tools_dir))]
    if not found:
        where = f"in tools_dir ({tools_dir})" if tools_dir else "on this machine"
        raise ToolNotFound(
            f"{purpose}, {names[0]} is needed, and there is none {where}: install {_PACKAGE[vendor]} "
            f"({'or correct' if tools_dir else 'or set'} BackupConfig.tools_dir)."
        )
    return next((tool for tool in found if tool.vendor == vendor), found[0])


def misfit(tool: Tool, vendor: str, version: str) -> str:
    """What to know where *tool* was not made for the server; empty where it was."""
    server = f"{'MariaDB' if vendor == 'mariadb' else 'MySQL'} {version}"
    if tool.vendor != vendor:
        return f"{tool.name} is not made for {server}, and this pair is untested: install {_PACKAGE[vendor]}"
    if series(tool.version) < series(version):
        return (
            f"{tool.name} {tool.version} is older than the server ({server}) and may not know all that it holds: "
            f"install the {_PACKAGE[vendor]} of the server's series"
        )
    return ""


def series(version: str) -> tuple[int, ...]:
    """``(10, 11)`` of "10.11.19": what releases of one series hold, all of them know."""
    return tuple(int(part) for part in version.split(".")[:2])


def _installed(name: str, tools_dir: str | None) -> Tool | None:
    path = shutil.which(name, path=tools_dir or None)
    if not path:
        return None
    version = _version(told := _said(path, "--version"))
    if not version:
        return None
    return Tool(path, "mariadb" if "mariadb" in told.lower() else "mysql", version, _said(path, "--help"))


def _version(told: str) -> str:
    """The release, of the forms "Distrib 10.11.19-MariaDB", "from 11.4.2-MariaDB" and "Ver 8.0.36"."""
    found = re.search(r"(?:Distrib|from) (\d+\.\d+\.\d+)", told) or re.search(r"Ver (\d+\.\d+\.\d+)", told)
    return found[1] if found else ""


def _said(*argv: str) -> str:
    """What a program says of itself, without any option file; nothing when it does not run."""
    command = [argv[0], "--no-defaults", *argv[1:]]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
