"""What other processes do to a dataset in these tests. Each is forked from a server that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from s4s_lab.errors import DatasetError
from s4s_lab.lake import ConnectionRecord, Dataset, ResourceVersion, open_dataset
from s4s_lab.lake.derive import catalogue
from s4s_lab.values.instants import from_millis, to_millis

NOBODY = 65534
SOURCE = "http://127.0.0.1:9/fhir"
# Compiled once here, so that a forked child spends its time on commits.
catalogue()
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
# What one commit brings.
Step = list[ResourceVersion]


@contextmanager
def child(work: Callable[..., None], *given: Any) -> Iterator[tuple[BaseProcess, Pipe]]:
    """Run `work(pipe, *given)` in a process that is gone when the block ends."""
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=work, args=(theirs, *given))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def known(data: Dataset, patient_id: str) -> tuple[ConnectionRecord, str]:
    """Return a patient's connection and the cursor of their claims."""
    record = data.connection(SOURCE, patient_id)
    return record, data.cursor(record, "ExplanationOfBenefit", "query")


def steps_done(data: Dataset, cursor: str) -> int:
    """Return how many steps the watermark covers."""
    last_check = data.log.last_check(cursor)
    return 0 if last_check is None else to_millis(last_check)


def run(data: Dataset, patient_id: str, steps: Sequence[Step]) -> None:
    """Do what a pull does, from where the watermark is: each step one commit, then a refresh."""
    record, cursor = known(data, patient_id)
    for number in range(steps_done(data, cursor), len(steps)):
        data.log.commit(
            record,
            steps[number],
            run_id=f"run-{number}",
            received_at=datetime.now(UTC),
            cursor_id=cursor,
            last_check=from_millis(number + 1),
        )
        data.refresh([(record.fhir_url, record.patient_id)])


def pull(pipe: Pipe, root: Path, patient_id: str, steps: Sequence[Step]) -> None:
    """Say when the work begins, and that it is done."""
    data = open_dataset(root)
    pipe.send("begun")
    run(data, patient_id, steps)
    pipe.send("done")


def append(pipe: Pipe, root: Path, patient_id: str, steps: Sequence[Step]) -> None:
    """Append as fast as possible; answer with the versions that were made."""
    data = open_dataset(root)
    record, cursor = known(data, patient_id)
    pipe.send("ready")
    pipe.recv()
    made = [
        data.log.commit(
            record,
            step,
            run_id="r",
            received_at=datetime.now(UTC),
            cursor_id=cursor,
            last_check=from_millis(number + 1),
        )
        for number, step in enumerate(steps)
    ]
    pipe.send(made)


def rewrite(pipe: Pipe, root: Path, patient_id: str, versions: Step, rounds: int) -> None:
    """Commit all versions with the number of the round as their status, and refresh, round by round."""
    data = open_dataset(root)
    record, _ = known(data, patient_id)
    for number in range(1, rounds + 1):
        step = [replace(one, raw=numbered(one, number), content_hash=str(number)) for one in versions]
        data.log.commit(record, step, run_id=f"round-{number}", received_at=datetime.now(UTC))
        data.refresh()
        pipe.send(number)


def numbered(version: ResourceVersion, number: int) -> str:
    """Return a version's JSON with a number as its status."""
    head, comma, rest = (version.raw or "").partition(",")
    return f'{head}, "status": "{number}"{comma}{rest}'


def fill_the_disk(pipe: Pipe, root: Path, patient_id: str, step: Step) -> None:
    """Append when no file can be written any more; answer with the error."""
    data = open_dataset(root)
    record, _ = known(data, patient_id)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        data.log.commit(record, step, run_id="r", received_at=datetime.now(UTC))
    except DatasetError as error:
        pipe.send(str(error))
    else:
        pipe.send("written")


def look_without_rights(pipe: Pipe, root: Path, step: Step) -> None:
    """Use a dataset that cannot be written to, as somebody who is not root; answer with what happened."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    data = open_dataset(root, create=False)
    record = data.connections()[0]
    answers: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers.append(f"{len(data.table('explanation_of_benefit'))} rows")
    answers += [f"{type(one.message).__name__}: {one.message}" for one in caught]
    for act in (
        data.refresh,
        lambda: data.log.commit(record, step, run_id="r", received_at=datetime.now(UTC)),
        lambda: data.cursor(record, "Patient", "query"),
    ):
        try:
            act()
        except DatasetError as error:
            answers.append(f"{type(error).__name__}: {error}")
    pipe.send(answers)


def look_at_images_without_rights(pipe: Pipe, root: Path) -> None:
    """List the tables of a dataset that cannot be written to, and verify it; answer with what is said of images."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    data = open_dataset(root, create=False)
    rows = {row["name"]: row["rows"] for row in data.tables().to_pylist()}
    pipe.send((rows["dicom_instance"], [one.what for one in data.verify().problems if one.part == "dicom"]))
