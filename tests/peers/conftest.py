"""Programs of other makers that the peer tests talk to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from tests.conftest import missing

# Debian keeps Orthanc where only root's path looks.
SEARCHED = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """A function that gives the path of a program, or leaves the test out (fails it where every test has to run)."""

    def path_of(program: str) -> str:
        found = shutil.which(program, path=SEARCHED)
        if found is None:
            missing(f"needs the program {program}, which is not installed (tests/peers/install.sh)")
            raise AssertionError  # `missing` does not return
        return found

    return path_of
