"""kill -9 at any file operation of a forget: the next opening finishes it, and nobody else has lost anything."""

from __future__ import annotations

import os
import random
import shutil
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from s4s_lab.errors import S4SWarning
from s4s_lab.lake import Dataset, open_dataset, opening
from s4s_lab.lake.delta import read
from s4s_lab.lake.log import LOG_SCHEMA
from tests.faults.pull.worker import NAMES, Fault, Worker
from tests.unit.lake.forgetting import found_in, names_of, shared
from tests.unit.lake.records import SOURCE, Person, read_person

FULL = os.environ.get("S4S_FULL") == "1"
POINTS = 6
TABLES = ("patient", "explanation_of_benefit", "dicom_instance")


@pytest.fixture(scope="module")
def people(test_data: Path) -> list[Person]:
    """Two real people."""
    return [read_person(test_data, name) for name in ("Darcy_Schmidt", "Leroy_Johns")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, people: list[Person]) -> tuple[Path, set[str]]:
    """A dataset in which files hold rows of both, and every word that names the first."""
    root = tmp_path_factory.mktemp("pair") / "dataset"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BUCKETS", 1)
        data = open_dataset(root)
        record = shared(data, people)[0]
    return root, names_of(people[0], record, 0, [data.cursor(record, "ExplanationOfBenefit", "query")])


def of_others(data: Dataset, patient_id: str) -> list[pa.Table]:
    """The log as every one of its first versions shows it and tables, without one patient's rows."""
    found = [read(data.log.at(version), LOG_SCHEMA).sort_by("position") for version in range(6)]
    found += [data.arrow(name) for name in TABLES]
    return [rows.filter(pc.not_equal(rows["patient_id"], patient_id)) for rows in found]


def opened(root: Path) -> Dataset:
    """Open, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", S4SWarning)
        return open_dataset(root)


@pytest.mark.long
def test_a_forget_that_was_killed_at_any_of_its_file_operations_is_finished_by_the_next_opening(
    worker: Worker, pair: tuple[Path, set[str]], people: list[Person], tmp_path: Path
) -> None:
    whole, words = pair
    who = people[0].patient_id
    counted = worker.do(
        "forget", shutil.copytree(whole, tmp_path / "calm"), SOURCE, Fault("count", NAMES), patient_id=who
    )
    calm = opened(tmp_path / "calm")
    assert counted.said["outcome"] == "done"
    before, digest = of_others(opened(whole), who), calm.log.digest()
    points = range(1, counted.counted + 1)
    begun = 0
    for point in points if FULL else sorted(random.Random(34).sample(points, POINTS)):  # noqa: S311 - repeatable
        root = shutil.copytree(whole, tmp_path / f"{point}")
        ending = worker.do("forget", root, SOURCE, Fault("kill", NAMES, point), patient_id=who)
        assert ending.killed or point > counted.counted - 10, ending
        begun += (root / "forgetting.json").exists()
        data = opened(root)
        if data.log.digest() != digest:
            # Killed before anything was written down: nothing has been changed.
            assert not begun
            data.forget(who)
        assert found_in(root, words) == set()
        assert all(one.equals(other) for one, other in zip(of_others(data, who), before, strict=True))
        assert data.log.digest() == digest
        shutil.rmtree(root)
    # Kills that all came before the journal or after it would prove nothing.
    assert begun > 1
