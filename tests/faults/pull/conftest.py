"""The shim, the server process that has imported everything, and a FHIR server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.faults.pull.worker import Worker, working


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    compiler = shutil.which("cc")
    if compiler is None:
        missing("needs a C compiler, for what stands between a process and its file operations")
    built = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(
        [str(compiler), "-shared", "-fPIC", "-O1", "-o", str(built), str(source), "-ldl", "-lpthread"], check=True
    )
    return built


@pytest.fixture(scope="session")
def worker(shim: Path) -> Iterator[Worker]:
    """Who does pulls that may be killed."""
    with working(shim) as running:
        yield running
