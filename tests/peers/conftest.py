"""Programs of other makers that the peer tests talk to."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from tests.conftest import missing
from tests.journey.conftest import Launch, launch_through_consent
from tests.peers.orthanc import PLUGIN, Held, Orthanc, running_orthanc

FOLDERS = ("pydicom-dicomdirtests", "highdicom", "dcmjs/examples", "pynetdicom", "s4s-sample-patients")
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


@pytest.fixture(scope="session")
def orthanc(require: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    program = require("Orthanc")
    if not PLUGIN.is_file():
        missing(f"needs Orthanc's DICOMweb plugin at {PLUGIN}")
    with running_orthanc(program, tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="session")
def held(orthanc: Orthanc, test_data: Path) -> Held:
    """What Orthanc took: SHA-256 of every file by study and instance UID, as pydicom reads them."""
    found: Held = {}
    for path in sorted(path for folder in FOLDERS for path in (test_data / "dicom" / folder).rglob("*")):
        if path.is_file() and orthanc.store(data := path.read_bytes()):
            data_set = pydicom.dcmread(path, stop_before_pixels=True)
            study = found.setdefault(str(data_set.StudyInstanceUID), {})
            study[str(data_set.SOPInstanceUID)] = hashlib.sha256(data).hexdigest()
    return found


@pytest.fixture
def launch() -> Launch:
    """Launch at a sandbox as one participant."""
    return launch_through_consent
