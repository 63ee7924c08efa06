"""For the end that no ``finally`` sees: when this process is killed, its children's group is killed too.

A shell holds the other end of a pipe. The kernel closes ours however we end, and then it kills the group. (Linux's
own signal at a parent's death would come with the end of the thread that started the child, and reach no grandchild.)
"""

from __future__ import annotations

import subprocess
from contextlib import suppress

from django_cfg.backup.process.environment import child_environment

_SCRIPT = 'read -r _ || kill -s KILL -- "-$1"'


class Watchdog:
    """Watches over the process group *group* until it is dismissed. Without a shell nothing watches."""

    def __init__(self, group: int) -> None:
        try:
            self._shell: subprocess.Popen[bytes] | None = subprocess.Popen(
                ["sh", "-c", _SCRIPT, "sh", str(group)],
                env=child_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # what kills our group must not kill it
            )
        except OSError:
            self._shell = None

    def dismiss(self) -> None:
        if self._shell is not None:
            with suppress(BrokenPipeError):
                self._shell.communicate(b"\n")
