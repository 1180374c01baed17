"""Refresh after one participant changed: work in proportion to that participant, not to the cohort.

Two datasets are built alike, one of 100 participants and one of 10,000 (S4S_PARTICIPANTS changes the latter). In both,
one participant's study changes, and all tables are refreshed. Printed last is the ratio of the two times: about 1
when the cohort does not matter. Beside it: how long reading a table takes.

    python -m benchmarks.bench_refresh
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from s4s_lab.lake import ConnectionRecord, Dataset, ResourceVersion, delta, open_dataset
from s4s_lab.lake.log import LOG_SCHEMA

SMALL = 100
LARGE = int(os.environ.get("S4S_PARTICIPANTS", "10000"))
REPEATS = 7
AT_ONCE = 500
SOURCE = "https://ehr.example/fhir"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def main() -> int:
    """Build both datasets, measure, print; return 0 when the large one costs less than twice the small one."""
    seconds = {}
    for participants in (SMALL, LARGE):
        with TemporaryDirectory() as folder:
            started = time.perf_counter()
            data = built(Path(folder) / "dataset", participants)
            built_s = time.perf_counter() - started
            seconds[participants] = measured(data)
            reading_s = timed(lambda data=data: data.table("imaging_study"))
            print(
                f"{participants:6d} participants: built and derived in {built_s:.1f} s,"
                f" refreshed after one changed in {seconds[participants]:.3f} s (median of {REPEATS}),"
                f" imaging_study read in {reading_s:.3f} s"
            )
    ratio = seconds[LARGE] / seconds[SMALL]
    print(f"ratio of {LARGE} to {SMALL} participants: {ratio:.2f}")
    return 0 if ratio < 2 else 1


def built(path: Path, participants: int) -> Dataset:
    """Make a dataset with everybody in the log, and all tables derived."""
    data = open_dataset(path)
    names = [f"p{number}" for number in range(participants)]
    for start in range(0, participants, AT_ONCE):
        # Many participants in one commit: 10,000 commits would take longer than what is measured.
        rows = [row for name in names[start : start + AT_ONCE] for row in logged(data, name)]
        delta.append(data.log.path, pa.Table.from_pylist(rows, LOG_SCHEMA), transactions={})
    data.refresh()
    return data


def logged(data: Dataset, patient_id: str) -> Iterator[dict[str, Any]]:
    """Yield one participant's rows of the log."""
    for position, version in enumerate(resources(patient_id)):
        yield {
            **vars(version), "bucket": data.log.bucket(SOURCE, patient_id), "source": SOURCE, "patient_id": patient_id,
            "connection_id": "c", "run_id": "r", "received_at": NOON, "after_version": 0, "position": position,
        }  # fmt: skip


def record(patient_id: str) -> ConnectionRecord:
    """Stand for a participant's connection; its file is not what is measured."""
    return ConnectionRecord(f"connection-{patient_id}", SOURCE, patient_id, None, Path("grants") / patient_id)


def measured(data: Dataset) -> float:
    """Return how long a refresh takes after one participant's study changed [s]."""
    taken = []
    for repeat in range(REPEATS + 1):
        patient_id = f"p{repeat * 7 % SMALL}"
        changed = [*resources(patient_id, f"changed {repeat}")][:1]
        data.log.commit(record(patient_id), changed, run_id=f"change-{repeat}", received_at=NOON)
        taken.append(timed(lambda: data.refresh([(SOURCE, patient_id)])))  # noqa: B023 - called at once
    return statistics.median(taken[1:])


def timed(work: Callable[[], object]) -> float:
    """Return how long something takes [s]."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def resources(patient_id: str, note: str = "first") -> Iterator[ResourceVersion]:
    """Yield one participant's study, claim and Patient."""
    study = {
        "resourceType": "ImagingStudy", "id": f"s-{patient_id}", "uid": f"urn:oid:1.2.{patient_id[1:]}",
        "patient": {"reference": f"Patient/{patient_id}"}, "description": note, "started": "2020-01-02T03:04:05Z",
        "series": [{"uid": f"urn:oid:1.2.{patient_id[1:]}.{series}", "modality": {"code": "CT"},
                    "instance": [{"uid": f"urn:oid:1.2.{patient_id[1:]}.{series}.{number}", "number": number}
                                 for number in range(20)]} for series in range(2)],
    }  # fmt: skip
    claim = {
        "resourceType": "ExplanationOfBenefit", "id": f"e-{patient_id}", "status": "active",
        "patient": {"reference": f"Patient/{patient_id}"}, "totalCost": {"value": 10.5, "code": "USD"},
        "item": [{"sequence": number, "net": {"value": 1.25, "code": "USD"},
                  "adjudication": [{"category": {"coding": [{"code": "submitted"}]}, "amount": {"value": 2.5}}]}
                 for number in range(1, 6)],
    }  # fmt: skip
    patient = {"resourceType": "Patient", "id": patient_id, "gender": "other", "birthDate": "1970-01-01"}
    for one in (study, claim, patient):
        raw = json.dumps(one)
        kind, key = str(one["resourceType"]), str(one["id"])
        yield ResourceVersion(kind, key, None, None, str(hash(raw)), raw, "stu3")


if __name__ == "__main__":
    sys.exit(main())
