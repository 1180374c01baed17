"""What every test shares: where the real files are, and the clause markers that make the conformance page."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.conformance.clauses import Proofs, conformance_page

pytest_plugins = ["tests.canaries.plugin"]
PROJECT = Path(__file__).resolve().parent.parent
TEST_DATA = Path(os.environ.get("S4S_TEST_DATA", PROJECT.parent / "shared" / "data")).resolve()
os.environ["S4S_PROGRESS"] = "0"  # progress bars change from run to run; commands that tests start inherit this
# Where the tests run, the browser is at hand, even when a person came there by ssh.
for elsewhere in ("SSH_CONNECTION", "CODESPACES", "JUPYTERHUB_SERVICE_PREFIX", "S4S_REDIRECT_URI"):
    os.environ.pop(elsewhere, None)
# A run in the background begins with interrupts ignored, and every child process would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says something of the machine, nothing of the code.
settings.register_profile("s4s", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("s4s")
REQUIRE_ALL = os.environ.get("S4S_REQUIRE_ALL") == "1"


def missing(reason: str) -> None:
    """Skip the test with `reason`; where every test has to run, fail it instead."""
    if REQUIRE_ALL:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real FHIR and DICOM files, which are not part of this repository."""
    if not (TEST_DATA / "fhir-manifest.tsv").is_file():
        missing(f"needs the public test files in {TEST_DATA} (set S4S_TEST_DATA); they are not part of this repository")
    return TEST_DATA


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance-page", metavar="FILE", help="write the clause → tests page to FILE")


def pytest_collection_finish(session: pytest.Session) -> None:
    target = session.config.getoption("--conformance-page")
    if not target:
        return
    proofs: Proofs = {}
    for item in session.items:
        for marker in item.iter_markers("clause"):
            name = item.nodeid.split("[", 1)[0]
            for number in marker.args:
                proofs.setdefault(number, set()).add(name)
    Path(target).write_text(conformance_page(proofs), encoding="utf-8")
