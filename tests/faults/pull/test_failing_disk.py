"""A disk that is full, or fails, at any file operation: one clear sentence, the dataset as it was, and on it goes."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.pull.checking import check
from tests.faults.pull.scenes import Scene, play
from tests.faults.pull.worker import NAMES, SYNCS, WRITES, Ending, Fault, Worker
from tests.wire.sync.server import FhirServer, serving

FULL = os.environ.get("S4S_FULL") == "1"
POINTS = 3
FAULTS = [
    ("fail on", WRITES | NAMES, errno.ENOSPC),
    ("fail once", WRITES, errno.EDQUOT),
    ("fail once", NAMES | SYNCS, errno.EIO),
]


@pytest.fixture(scope="module")
def scene(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, str]]:
    """An update that nobody disturbed, and the server that is ready for it again."""
    with serving(FhirServer()) as server:
        yield play(worker, server, tmp_path_factory.mktemp("scene"), "update"), server.url


def assert_told(ending: Ending) -> None:
    """Check that the error is one of ours, or that the pull could do without what failed."""
    said = ending.said
    assert "crash" not in said, said
    if "error" in said:
        assert said["error"] == "DatasetError"
        assert "written" in said["text"]
    else:
        assert said["outcome"] == "done"


@pytest.mark.long
@pytest.mark.parametrize(("how", "classes", "error"), FAULTS, ids=["full", "quota", "broken"])
def test_a_disk_that_fails_at_any_operation_costs_that_pull_only(
    worker: Worker, scene: tuple[Scene, str], tmp_path: Path, how: str, classes: int, error: int
) -> None:
    play, url = scene
    counted = worker.do("pull", play.fresh(tmp_path / "counted"), url, Fault("count", classes), mode="auto").counted
    points = range(1, counted + 1)
    failed = 0
    for point in points if FULL else random.Random(how).sample(points, POINTS):  # noqa: S311 - repeatable, no secret
        root = play.fresh(tmp_path / f"{point}")
        fault = Fault(how, classes, point, error)  # type: ignore[arg-type]  # one of the words above
        ending = worker.do("pull", root, url, fault, mode="auto")
        assert_told(ending)
        failed += "error" in ending.said
        check(root, play, url)
        shutil.rmtree(root)
    assert failed


@pytest.mark.long
def test_the_command_line_says_it_in_a_sentence(worker: Worker, scene: tuple[Scene, str], tmp_path: Path) -> None:
    play, url = scene
    classes = NAMES | SYNCS | WRITES
    counted = worker.do("command", play.fresh(tmp_path / "counted"), url, Fault("count", classes)).counted
    for point in range(1, counted + 1, 1 if FULL else counted // 3):
        root = play.fresh(tmp_path / f"{point}")
        ending = worker.do("command", root, url, Fault("fail on", classes, point, errno.ENOSPC))
        assert "crash" not in ending.said, ending
        assert ending.said["traceback"] is None
        assert "Traceback" not in ending.said["text"]
        assert "report this" not in ending.said["text"]
        assert ending.said["code"] in (0, 1)
        shutil.rmtree(root)
