"""Several processes at one dataset: writers lose nothing, readers see committed states only."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from s4s_lab.errors import TableBehind
from s4s_lab.lake import ResourceVersion, open_dataset
from s4s_lab.lake.entries import read_entry
from s4s_lab.values.instants import from_millis
from tests.faults.lake import working
from tests.faults.lake.working import Step
from tests.unit.lake.records import Person, version_of

ROUNDS = 6


def numbered(versions: Sequence[ResourceVersion], count: int) -> list[Step]:
    """One resource a step, each of its own id."""
    return [[replace(versions[0], resource_id=f"claim-{number}")] for number in range(count)]


@contextmanager
def ignoring_behind() -> Iterator[None]:
    """A reader may well meet a table that is being refreshed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableBehind)
        yield


def test_two_that_append_at_once_lose_nothing(tmp_path: Path, steps: list[Step]) -> None:
    root, people, each = tmp_path / "dataset", ("p1", "p2"), 20
    open_dataset(root)
    with ExitStack() as stack:
        pipes = [
            stack.enter_context(working.child(working.append, root, who, numbered(steps[0], each)))[1] for who in people
        ]
        assert [pipe.recv() for pipe in pipes] == ["ready", "ready"]
        for pipe in pipes:
            pipe.send("go")
        made = [pipe.recv() for pipe in pipes]
    data = open_dataset(root)
    assert sorted(made[0] + made[1]) == list(range(1, 2 * each + 1))
    for who, versions in zip(people, made, strict=True):
        record, cursor = working.known(data, who)
        assert data.log.current(record, "ExplanationOfBenefit").keys() == {f"claim-{number}" for number in range(each)}
        assert data.log.last_check(cursor) == from_millis(each)
        assert [read_entry(data.log.path, version).transactions for version in versions] == [
            {cursor: number + 1} for number in range(each)
        ]


def test_a_reader_sees_only_states_that_were_committed(tmp_path: Path, person: Person) -> None:
    root = tmp_path / "dataset"
    claims = [{key: value for key, value in claim.items() if key != "status"} for claim in person.resources[-8:]]
    versions = [version_of(claim) for claim in claims]
    data = open_dataset(root)
    seen: list[int] = []
    with working.child(working.rewrite, root, person.patient_id, versions, ROUNDS) as (_, pipe), ignoring_behind():
        assert pipe.recv() == 1
        while not seen or seen[-1] < ROUNDS:
            rows = data.table("explanation_of_benefit")
            assert len(rows) == len(versions)
            (status,) = set(rows["status"])
            seen.append(int(status))
    assert seen == sorted(seen)


def test_a_full_disk_is_an_error_and_changes_nothing(tmp_path: Path, person: Person, steps: list[Step]) -> None:
    root = tmp_path / "dataset"
    data = open_dataset(root)
    working.run(data, person.patient_id, steps[:1])
    before = data.log.digest()
    with working.child(working.fill_the_disk, root, person.patient_id, steps[1]) as (_, pipe):
        assert "could not be written" in pipe.recv()
    again = open_dataset(root)
    assert (again.log.version, again.log.digest()) == (1, before)
    working.run(again, person.patient_id, steps)
    assert again.log.version == len(steps)
