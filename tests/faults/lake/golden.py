"""A tiny dataset of today's format, kept as a file so that later versions prove that they open it.

`python -m tests.faults.lake.golden FILE` makes one anew; that is only right for a new format, beside the old ones.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from s4s_lab import Dataset, open_dataset
from s4s_lab.lake import PullRow, ResourceVersion
from s4s_lab.values.instants import from_millis
from tests.unit.lake.records import NOON, SOURCE, tombstone_of, version_of

FILE = Path(__file__).with_name("dataset-format-1.tar.gz")
LAST_CHECK = 1_793_534_400_000


def claim(number: int, status: str = "active") -> dict[str, Any]:
    """Give a made-up claim with two items."""
    return {
        "resourceType": "ExplanationOfBenefit",
        "id": f"c{number}",
        "patient": {"reference": "Patient/p1"},
        "status": status,
        "item": [{"sequence": 1}, {"sequence": 2}],
    }


def study(number: int) -> dict[str, Any]:
    """Give a made-up study."""
    return {
        "resourceType": "ImagingStudy",
        "id": f"s{number}",
        "uid": f"urn:oid:1.2.3.{number}",
        "patient": {"reference": "Patient/p1"},
    }


def version(resource: dict[str, Any]) -> ResourceVersion:
    """Return a resource as a received version."""
    return version_of(resource)


def commit(data: Dataset, versions: list[ResourceVersion], run: int) -> None:
    """Do what a pull does."""
    record = data.connection(SOURCE, "p1", "P-0001")
    cursor = data.cursor(record, "ExplanationOfBenefit", "query")
    data.log.commit(
        record,
        versions,
        run_id=f"run-{run}",
        received_at=NOON,
        cursor_id=cursor,
        last_check=from_millis(LAST_CHECK + run),
    )
    data.ledger.record(
        [PullRow(f"run-{run}", record.connection_id, "ExplanationOfBenefit", "first", "query", NOON, NOON)]
    )
    data.refresh()


def fill(data: Dataset) -> None:
    """Two pulls: two claims and two studies; then one claim changed and one study gone."""
    commit(data, [version(one) for one in (claim(1), claim(2), study(1), study(2))], 1)
    commit(data, [version(claim(1, "cancelled")), tombstone_of(study(2))], 2)


def make(target: Path) -> None:
    """Make the file."""
    with tempfile.TemporaryDirectory() as folder:
        data = open_dataset(Path(folder) / "dataset")
        fill(data)
        with tarfile.open(target, "w:gz") as archive:
            archive.add(data.path(), "dataset")
        sys.stdout.write(json.dumps({"citations": [data.citation(version) for version in range(3)]}, indent=1) + "\n")


def opened(folder: Path) -> Dataset:
    """Open a copy of the dataset that the file holds."""
    with tarfile.open(FILE) as archive:
        archive.extractall(folder, filter="data")
    # Unpacking gives folders the modes that new ones have.
    for path in (folder / "dataset", *(path for path in (folder / "dataset").rglob("*") if path.is_dir())):
        path.chmod(0o700)
    return open_dataset(folder / "dataset")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
