"""What all tests of processes have to leave behind: nothing."""

from tests.backup.pipeline.conftest import nothing_left_running

__all__ = ["nothing_left_running"]
