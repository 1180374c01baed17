"""Several processes pull into one dataset, and others read it: as if one had come after the other."""

from __future__ import annotations

import os
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from s4s_lab import Dataset, open_dataset
from s4s_lab.errors import TableBehind
from s4s_lab.lake.delta import open_table
from tests.faults.lake.working import child
from tests.faults.server.wire import FaultServer, serving
from tests.faults.sync import jobs
from tests.faults.sync.jobs import Living, pull_when_free
from tests.wire.sync.conftest import connection

FULL = os.environ.get("S4S_FULL") == "1"
PATIENTS = ("p1", "p2", "p3", "p4")
PROCESSES, PULLS = (8, 10) if FULL else (4, 2)
COMMITS = 50 if FULL else 8
READERS = 4
STUDIES = 6


@pytest.fixture
def living() -> Living:
    """Six studies of each patient."""
    living = Living(PATIENTS)
    for patient in PATIENTS:
        for number in range(STUDIES):
            living.write(patient, number, "0")
    return living


@pytest.fixture
def server(living: Living) -> Iterator[FaultServer]:
    with serving(living.answer) as running:
        yield running


def write_until(living: Living, stop: threading.Event) -> None:
    """Change one study after the other, add some, and delete some that were never changed."""
    turn = 0
    while not stop.wait(0.03):
        patient = PATIENTS[turn % len(PATIENTS)]
        living.write(patient, turn % 3 if turn % 2 else STUDIES + turn % 5, f"{turn}")
        turn += 1
    for patient in PATIENTS:
        living.write(patient, STUDIES - 1, None)


def pull_all(root: Path, server: FaultServer) -> Dataset:
    """Pull every patient broad, one after the other."""
    data = open_dataset(root)
    for patient in PATIENTS:
        pull_when_free(data, connection(server.url, patient), "broad")
    return data


@pytest.mark.long
def test_many_that_pull_at_once_end_as_one_after_the_other(tmp_path: Path, living: Living, server: FaultServer) -> None:
    serial = pull_all(tmp_path / "serial", server)
    together = pull_all(tmp_path / "together", server)
    stop = threading.Event()
    writer = threading.Thread(target=write_until, args=(living, stop))
    with ExitStack() as open_:
        work = (jobs.pull_often, tmp_path / "together", server.url)
        pipes = [open_.enter_context(child(*work, PATIENTS[n // 2 % 4], PULLS))[1] for n in range(PROCESSES)]
        assert {pipe.recv() for pipe in pipes} == {"ready"}
        writer.start()
        for word in ("pulled", "done"):
            for pipe in pipes:
                pipe.send("go")
            assert {pipe.recv() for pipe in pipes} == {word}
            stop.set()
            writer.join()
    pull_all(tmp_path / "together", server)
    pull_all(tmp_path / "serial", server)
    assert together.log.digest() == serial.log.digest()
    assert together.table("imaging_study").shape == serial.table("imaging_study").shape
    check_no_row_twice(together)


def check_no_row_twice(data: Dataset) -> None:
    """Two that pull one connection take turns: no version of a study is in the log twice."""
    rows = open_table(data.log.path).to_pyarrow_dataset().to_table(["patient_id", "resource_id", "raw"]).to_pylist()
    twice = [row for row, count in Counter(tuple(row.values()) for row in rows if row["raw"]).items() if count > 1]
    assert not twice
    assert len(rows) > STUDIES * len(PATIENTS)


@pytest.mark.long
def test_readers_see_only_states_that_were_committed(tmp_path: Path, living: Living, server: FaultServer) -> None:
    data, link = open_dataset(tmp_path / "data"), connection(server.url, "p1")
    pull_when_free(data, link, "auto")
    committed = [data.log.digest()]
    with ExitStack() as open_:
        pipes = [open_.enter_context(child(jobs.read_often, tmp_path / "data"))[1] for _ in range(READERS)]
        assert {pipe.recv() for pipe in pipes} == {"ready"}
        for turn in range(1, COMMITS):
            for number in range(STUDIES):
                living.write("p1", number, f"{turn}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TableBehind)
                pull_when_free(data, link, "auto")
            committed.append(data.log.digest())
        for pipe in pipes:
            pipe.send("stop")
        seen = [pipe.recv() for pipe in pipes]
    assert len(set(committed)) == COMMITS
    for digests, tables in seen:
        order = [committed.index(digest) for digest in digests]
        assert order == sorted(order)
        assert len(set(order)) > 2
        # One pull changed all six: a table shows all of it or none.
        assert {(rows, len(descriptions)) for rows, descriptions in tables} == {(STUDIES, 1)}
