"""What stands between a pull and its file operations misses none: strace, which asks the kernel, counts the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import missing
from tests.faults.pull.scenes import begin
from tests.wire.sync.server import FhirServer, serving

CALLS = "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync"
PULL = """
import ctypes, os, sys
from pathlib import Path
from tests.faults.pull.jobs import pull_once
root, url = sys.argv[1:]
shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
shim.shim_arm(root.encode(), 1, 3, ctypes.c_long(0), 0, None)
assert pull_once(Path(root), url) == {"outcome": "done"}
print(shim.shim_disarm())
"""


def test_the_kernel_is_asked_nothing_that_is_not_counted(shim: Path, tmp_path: Path) -> None:
    strace, root, trace = shutil.which("strace"), tmp_path / "dataset", tmp_path / "trace"
    if strace is None:
        missing("needs strace")
    tracing = [
        str(strace),
        "-f",
        "-y",
        "-s",
        "1000",
        "-e",
        f"trace={CALLS}",
        "-o",
        str(trace),
        "-E",
        f"LD_PRELOAD={shim}",
    ]
    with serving(FhirServer()) as server:
        begin(server)
        done = subprocess.run(
            [*tracing, sys.executable, "-c", PULL, str(root), server.url],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "S4S_PROGRESS": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
    if "ptrace" in done.stderr and not done.stdout:
        missing("strace is not allowed to trace here")
    assert done.returncode == 0, done.stderr
    # A call that other threads interrupt is told in two lines: it counts where it begins.
    begun = [line for line in trace.read_text().splitlines() if "resumed>" not in line]
    calls = [line for line in begun if re.search(rf'["<]{re.escape(str(root))}["/>]', line)]
    assert len(calls) == int(done.stdout)
