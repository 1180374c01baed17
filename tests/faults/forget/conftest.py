"""What stands between a process and its file operations, as in the tests of killed pulls."""

from tests.faults.pull.conftest import shim, worker

__all__ = ["shim", "worker"]
