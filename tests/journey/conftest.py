"""The journey on real parts: a sandbox, a launch through its consent page, a dataset."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from s4s_lab import sandbox
from s4s_lab.connection import Connection, prepare_launch

DICOM_PATIENT, BENEFICIARY = "98890234", "-20140000008325"
Launch = Callable[[sandbox.Sandbox, int | str], Connection]


def free_port() -> int:
    """Give a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch_through_consent(server: sandbox.Sandbox, participant: int | str = 0) -> Connection:
    """Launch at a sandbox as one participant: registration, consent page, redirect, token."""
    redirect_uri = f"http://127.0.0.1:{free_port()}/callback"
    with closing(prepare_launch(server.fhir_url, redirect_uri=redirect_uri)) as pending:
        server.approve(pending, participant)
        return pending.wait(30)


@pytest.fixture
def launch() -> Launch:
    """Launch at a sandbox as one participant."""
    return launch_through_consent


@pytest.fixture
def synthetic() -> Iterator[sandbox.Sandbox]:
    """A sandbox with its synthetic people."""
    with sandbox.start(retrieve_s=0.3) as server:
        yield server


@pytest.fixture(scope="module")
def real(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Sandbox]:
    """A sandbox that serves the real STU3 files, and the images of one patient as those of a CMS beneficiary."""
    link = tmp_path_factory.mktemp("link") / "link.json"
    link.write_text(json.dumps({DICOM_PATIENT: BENEFICIARY}))
    images = test_data / "dicom" / "pydicom-dicomdirtests"
    with sandbox.start(fhir=test_data / "fhir" / "stu3", dicom=images, link=link, retrieve_s=0.3) as server:
        yield server
