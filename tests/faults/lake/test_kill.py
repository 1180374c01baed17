"""kill -9 at random points of commit and refresh: nothing lost, nothing twice, and the next run ends the same."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from s4s_lab.lake import Dataset, open_dataset
from s4s_lab.lake.delta import open_table
from tests.faults.lake import working
from tests.faults.lake.working import Step
from tests.unit.lake.records import Person

KILLS = 200 if os.environ.get("S4S_FULL") == "1" else 15
TABLES = ("explanation_of_benefit", "eob_item", "eob_adjudication", "imaging_study")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, person: Person, steps: list[Step]) -> tuple[Dataset, float]:
    """A dataset that nobody disturbed, and how long a whole run took [s]."""
    root = tmp_path_factory.mktemp("calm") / "dataset"
    with working.child(working.pull, root, person.patient_id, steps) as (process, pipe):
        assert pipe.recv() == "begun"
        begun = time.monotonic()
        assert pipe.recv() == "done"
        took = time.monotonic() - begun
        process.join()
    return open_dataset(root), took


def kill_once(root: Path, person: Person, steps: list[Step], after_s: float) -> None:
    """Let a process pull, and kill it some time after it began."""
    with working.child(working.pull, root, person.patient_id, steps) as (process, pipe):
        assert pipe.recv() == "begun"
        process.join(after_s)


def check(data: Dataset, person: Person, steps: list[Step]) -> int:
    """Check that the watermark covers exactly the rows that are there; return the number of steps it covers."""
    _, cursor = working.known(data, person.patient_id)
    done = working.steps_done(data, cursor)
    runs = open_table(data.log.path).to_pyarrow_dataset().to_table(["run_id"])["run_id"].to_pylist()
    assert sorted(runs) == sorted(f"run-{number}" for number in range(done) for _ in steps[number])
    there = {version.resource_id: version.content_hash for step in steps[:done] for version in step}
    record = data.connections()[0]
    assert {key: now.content_hash for key, now in data.log.current(record, "ExplanationOfBenefit").items()} == there
    assert sorted(data.table("explanation_of_benefit")["resource_id"]) == sorted(there)
    return done


@pytest.mark.long
def test_a_killed_run_loses_nothing_doubles_nothing_and_the_next_one_ends_the_same(
    tmp_path: Path, uninterrupted: tuple[Dataset, float], person: Person, steps: list[Step]
) -> None:
    calm, took = uninterrupted
    chance = random.Random(20)  # noqa: S311 - a repeatable choice of moments, no secret
    root = tmp_path / "dataset"
    covered = []
    for number in range(KILLS):
        if number % 5 == 0:
            root = tmp_path / f"dataset-{number}"
        kill_once(root, person, steps, chance.uniform(0.0, took / 3))
        covered.append(check(open_dataset(root), person, steps))
        if number % 5 == 4:
            data = open_dataset(root)
            working.run(data, person.patient_id, steps)
            assert data.log.digest() == calm.log.digest()
            assert all(data.arrow(name).equals(calm.arrow(name)) for name in TABLES)
    # Kills that all came before or after the work would prove nothing.
    assert len(set(covered)) > 1
