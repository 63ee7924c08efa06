"""A process that is killed takes its children with it, and theirs."""

from __future__ import annotations

import subprocess
import sys

from tests.support.processes import is_running, wait_until

# A child with a child of its own, neither of which writes anything that a broken pipe could end.
PROGRAM = """
from django_cfg.backup.process.child import Child
with Child(["sh", "-c", "sleep 600 & echo $! $$; wait"]) as child:
    print(child.stdout.readline().decode(), flush=True)
    child.wait()
"""


def test_a_kill_of_ours_kills_the_whole_family() -> None:
    """An RQ worker ends its work horse with SIGKILL: no pg_dump may go on holding its snapshot."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        family = [int(pid) for pid in process.stdout.readline().split()]
        assert len(family) == 2
        assert all(map(is_running, family))
        process.kill()
    wait_until(lambda: not any(map(is_running, family)))
