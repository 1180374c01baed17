"""A benchmark that does not run proves nothing: the smallest run of one that makes a connection of its own."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.conftest import PROJECT


def test_a_pull_is_measured_against_fetching_alone() -> None:
    command = [sys.executable, "-m", "benchmarks.bench_pull", "--resources", "40", "--repeat", "1"]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=250, check=False)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"pull to the log / fetch, wall time: \d+\.\d\d", ran.stdout)
