"""Listen to the whole run at DEBUG, then look through logs, reports and every file that tests left; a find fails it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.canaries.scan import files_of, found, found_in_file

EVERYWHERE = Path(__file__).parent / "everywhere"
_FOLDER = pytest.StashKey[Path]()
_FINDS = pytest.StashKey[list[str]]()
_LOOKED = pytest.StashKey[list[int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to listen, here and in every Python that tests start."""
    folder = Path(tempfile.mkdtemp(prefix="s4s-test-logs-"))
    config.stash[_FOLDER], config.stash[_FINDS], config.stash[_LOOKED] = folder, [], [0, 0]
    handler = logging.FileHandler(folder / "tests.log", encoding="utf-8")
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    os.environ |= {"S4S_TEST_LOGS": str(folder), "PYTHONPATH": os.pathsep.join([str(EVERYWHERE), *_python_path()])}


def _python_path() -> list[str]:
    return [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and one != str(EVERYWHERE)]


@pytest.fixture(autouse=True)
def _nothing_beside_a_counted_program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs whose writes are counted, killed or refused one by one write nothing but their own."""
    if "faults" in request.path.parts:
        monkeypatch.delenv("S4S_TEST_LOGS", raising=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Look at what a test printed, logged and was reported with."""
    report = yield
    shown = [report.longreprtext, *(text for _, text in report.sections)]  # type: ignore[attr-defined]  # what the wrapped hook gives
    kinds = found("\n".join(shown).encode())
    # All that was logged at DEBUG would hide what a failed test says of itself.
    report.sections = [one for one in report.sections if not one[0].startswith("Captured log")]  # type: ignore[attr-defined]  # what the wrapped hook gives
    item.config.stash[_FINDS] += [f"{kind} in the report of {item.nodeid}" for kind in kinds]
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look at every log and every file, and fail the run for what was found."""
    config = session.config
    finds, looked = config.stash[_FINDS], config.stash[_LOOKED]
    factory: pytest.TempPathFactory | None = getattr(config, "_tmp_path_factory", None)
    left = factory._basetemp if factory else None
    for path in [*files_of(config.stash[_FOLDER]), *(files_of(left) if left else ())]:
        with suppress(FileNotFoundError):  # another run rotates the folders of older ones
            finds += [f"{kind} in {path}" for kind in found_in_file(path)]
            looked[0], looked[1] = looked[0] + 1, looked[1] + path.stat().st_size
    if finds and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if not finds:
        shutil.rmtree(config.stash[_FOLDER])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was looked at and what was found."""
    finds, (files, size) = config.stash[_FINDS], config.stash[_LOOKED]
    terminalreporter.section("credentials where none belong")
    terminalreporter.line(f"{len(finds)} in {files:,} files ({size / 1e6:,.0f} MB), logs at DEBUG and every report")
    for find in finds[:100]:
        terminalreporter.line(find)
