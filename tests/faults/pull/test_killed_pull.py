"""kill -9 at random moments and at every file operation of a pull: nothing lost or doubled, the next one converges."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.pull.checking import check
from tests.faults.pull.scenes import Scene, play
from tests.faults.pull.worker import NAMES, SYNCS, Fault, Worker
from tests.wire.sync.server import FhirServer, serving

FULL = os.environ.get("S4S_FULL") == "1"
KILLS = 200 if FULL else 6
POINTS = 4


@pytest.fixture(scope="module", params=["first", "update", "broad"])
def scene(
    request: pytest.FixtureRequest, worker: Worker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Scene, str]]:
    """A pull that nobody disturbed, and the server that is ready for the same pull again."""
    with serving(FhirServer()) as server:
        yield play(worker, server, tmp_path_factory.mktemp("scene"), request.param), server.url


@pytest.mark.long
def test_a_pull_that_was_killed_at_any_moment_loses_nothing(
    worker: Worker, scene: tuple[Scene, str], tmp_path: Path
) -> None:
    play, url = scene
    chance = random.Random(play.name)  # noqa: S311 - a repeatable choice of moments, no secret
    killed = 0
    for number in range(KILLS // 3 + 1):
        root = play.fresh(tmp_path / f"{number}")
        moment = Fault(kill_after_s=chance.uniform(0.0, play.seconds))
        killed += worker.do("pull", root, url, moment, mode=play.mode).killed
        check(root, play, url)
        shutil.rmtree(root)
    # Pulls that had all ended would prove nothing.
    assert killed > KILLS // 10


@pytest.mark.long
def test_a_pull_that_was_killed_at_any_of_its_file_operations_loses_nothing(
    worker: Worker, scene: tuple[Scene, str], tmp_path: Path
) -> None:
    play, url = scene
    counted = worker.do("pull", play.fresh(tmp_path / "counted"), url, Fault("count"), mode=play.mode).counted
    assert counted > 50
    points = range(1, counted + 1)
    chosen = points if FULL else sorted(random.Random(play.name).sample(points, POINTS))  # noqa: S311 - as above
    for point in chosen:
        root = play.fresh(tmp_path / f"{point}")
        ending = worker.do("pull", root, url, Fault("kill", NAMES | SYNCS, point), mode=play.mode)
        # How many operations a pull takes varies by a few: threads, temporary names.
        assert ending.killed or point > counted - 10, ending
        check(root, play, url)
        shutil.rmtree(root)
