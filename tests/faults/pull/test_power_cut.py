"""A power cut at any file operation of a pull: nothing unreadable, no lastCheck without its rows, on it goes."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.pull.checking import check_log, check_next, check_tables, opened
from tests.faults.pull.replay import POLICIES, Recording, recorded, written
from tests.faults.pull.scenes import Scene, play
from tests.faults.pull.worker import Fault, Worker
from tests.wire.sync.server import FhirServer, serving

FULL = os.environ.get("S4S_FULL") == "1"
STATES = 8


@dataclass(frozen=True)
class Recorded:
    """A pull with all of its file operations, and what they left."""

    scene: Scene
    url: str
    recording: Recording
    root: Path


@pytest.fixture(scope="module", params=["first", "update", "broad"])
def pulled(
    request: pytest.FixtureRequest, worker: Worker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recorded]:
    """A pull that was recorded, its server ready for the same pull again."""
    folder = tmp_path_factory.mktemp("recorded")
    with serving(FhirServer()) as server:
        scene = play(worker, server, folder, request.param)
        root = scene.fresh(folder / "dataset")
        log = folder / "operations"
        ending = worker.do("pull", root, server.url, Fault("count", log=str(log)), mode=scene.mode)
        assert ending.said["outcome"] == "done"
        yield Recorded(scene, server.url, Recording(scene.before, recorded(log, root)), root)


def test_the_recording_is_whole(pulled: Recorded) -> None:
    chance = random.Random(0)  # noqa: S311 - not asked here
    state = pulled.recording.state(pulled.recording.length, "kept", chance)
    there = {path.relative_to(pulled.root).as_posix(): path for path in pulled.root.rglob("*")}
    assert state.keys() - {"."} == there.keys()
    assert all(content == there[name].read_bytes() for name, content in state.items() if content is not None)


def test_when_a_pull_has_ended_a_power_cut_takes_nothing_that_counts(pulled: Recorded, tmp_path: Path) -> None:
    recording, chance = pulled.recording, random.Random(0)  # noqa: S311 - not asked here
    data = opened(written(recording.state(recording.length, "lost", chance), tmp_path / "cut"))
    assert data.log.digest() == pulled.scene.after.log.digest()
    assert len(data.ledger.rows()) == len(pulled.scene.after.ledger.rows())
    check_tables(data, pulled.scene)


@pytest.mark.long
def test_a_power_cut_costs_the_last_commits_and_never_the_dataset(pulled: Recorded, tmp_path: Path) -> None:
    recording = pulled.recording
    cuts = [(length, policy) for length in range(recording.length + 1) for policy in POLICIES]
    chance = random.Random(pulled.scene.name)  # noqa: S311 - repeatable, no secret
    seen: set[int] = set()
    for number, (length, policy) in enumerate(cuts if FULL else chance.sample(cuts, STATES)):
        state = recording.state(length, policy, chance)
        if (key := hash(tuple(sorted(state.items(), key=str)))) in seen:
            continue
        seen.add(key)
        root = written(state, tmp_path / f"{length}-{policy}")
        check_cut(pulled, root, converges=not FULL or number % 10 == 0)
        shutil.rmtree(root)
    assert not FULL or len(seen) >= 500


def check_cut(pulled: Recorded, root: Path, *, converges: bool) -> None:
    """Everything can be read, lastCheck is that of the rows; sometimes also: the next pull ends the same."""
    data = opened(root, cut=True)
    check_log(data, pulled.scene)
    check_tables(data, pulled.scene)
    assert data.ledger.rows().num_rows >= 0
    if converges:
        check_next(data, pulled.scene, pulled.url)
        check_tables(opened(root), pulled.scene)
