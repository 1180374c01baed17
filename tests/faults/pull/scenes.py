"""Three pulls of one participant, each from where the one before ended: first, update, broad."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from s4s_lab import Dataset, open_dataset
from s4s_lab.lake.delta import open_table
from s4s_lab.values.instants import utc_now
from tests.faults.pull.worker import Worker
from tests.wire.sync.server import FhirServer, Resource, study

# Which type each table is made of.
TABLES = {
    "explanation_of_benefit": "ExplanationOfBenefit",
    "eob_item": "ExplanationOfBenefit",
    "imaging_study": "ImagingStudy",
    "patient": "Patient",
}
TYPES = ("ImagingStudy", "ExplanationOfBenefit")
MARKS = ("resource_type", "last_check")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
Mode = Literal["auto", "broad"]
# Type, id, hash, reason: what a row of the log says of a resource.
Row = tuple[str, str, str, str | None]


def claim(number: int, updated: datetime, **changes: Any) -> Resource:
    """Give a made-up STU3 claim of patient p1 with two items."""
    stamp = updated.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = {
        "resourceType": "ExplanationOfBenefit",
        "id": f"c{number}",
        "meta": {"lastUpdated": stamp},
        "patient": {"reference": "Patient/p1"},
        "status": "active",
        "item": [{"sequence": sequence} for sequence in (1, 2)],
    }
    return content | changes


def endpoint(number: int, address: str = "http://127.0.0.1:9/wado") -> Resource:
    """Give an Endpoint."""
    kind = {"code": "dicom-wado-rs"}
    return {
        "resourceType": "Endpoint",
        "id": f"e{number}",
        "status": "active",
        "connectionType": kind,
        "address": address,
    }


def begin(server: FhirServer) -> None:
    """What the first pull finds."""
    refers = {"endpoint": [{"reference": "Endpoint/e1"}]}
    server.put(endpoint(1), *(study(number, LONG_AGO, **refers) for number in (1, 2, 3)))
    server.put(*(claim(number, LONG_AGO) for number in (1, 2, 3)))


def grow(server: FhirServer) -> None:
    """What the update finds beside it: new ones, and changed ones."""
    now = utc_now() + timedelta(minutes=1)
    server.put(endpoint(2), study(4, now, endpoint=[{"reference": "Endpoint/e2"}]), study(1, now, numberOfSeries=7))
    server.put(claim(4, now), claim(2, now, status="cancelled"))


def shrink(server: FhirServer) -> None:
    """What the broad pull finds: some are gone, one was changed without a newer stamp."""
    for key in ("s2", "c3"):
        del server.resources[key]
        server.gone.add(key)
    server.put(claim(1, LONG_AGO, status="entered-in-error"))


@dataclass(frozen=True)
class Scene:
    """One pull, and the datasets before and after it when nobody disturbed it.

    Parameters
    ----------
    name : str
        `first`, `update` or `broad`.
    mode : str
        Of the pull.
    before, after : Path or Dataset
        `before` may be missing: then the pull makes the dataset.
    seconds : float
        How long the pull took undisturbed [s].
    """

    name: str
    mode: Mode
    before: Path
    after: Dataset
    seconds: float

    @cached_property
    def rows_before(self) -> list[Row]:
        """What the log said before."""
        return rows(open_dataset(self.before)) if self.before.exists() else []

    @cached_property
    def rows_after(self) -> list[Row]:
        """What the log says after."""
        return rows(self.after)

    @cached_property
    def checks_before(self) -> dict[str, datetime | None]:
        """Each type's lastCheck before."""
        return last_checks(open_dataset(self.before)) if self.before.exists() else {}

    @cached_property
    def tables_before(self) -> dict[str, pa.Table]:
        """What the tables showed before; nothing where there was no dataset."""
        if not self.before.exists():
            return {name: table.slice(0, 0) for name, table in self.tables_after.items()}
        data = open_dataset(self.before)
        return {name: data.arrow(name) for name in TABLES}

    @cached_property
    def tables_after(self) -> dict[str, pa.Table]:
        """What the tables show after."""
        return {name: self.after.arrow(name) for name in TABLES}

    def fresh(self, root: Path) -> Path:
        """Put the dataset as it was before in a new place."""
        if self.before.exists():
            shutil.copytree(self.before, root)
        return root


def play(worker: Worker, server: FhirServer, folder: Path, name: str) -> Scene:
    """Bring server and dataset to where a scene begins, and to where it ends undisturbed."""
    acts: list[tuple[str, Mode, Callable[[FhirServer], None]]] = [
        ("first", "auto", begin),
        ("update", "auto", grow),
        ("broad", "broad", shrink),
    ]
    before = folder / "none"
    for title, mode, change in acts:
        change(server)
        after = folder / title
        if before.exists():
            shutil.copytree(before, after)
        ending = worker.do("pull", after, server.url, mode=mode)
        assert ending.said.get("outcome") == "done", ending
        if title == name:
            return Scene(name, mode, before, open_dataset(after), ending.seconds)
        before = after
    raise ValueError(name)


def rows(data: Dataset) -> list[Row]:
    """Return what every row of the log says, sorted; none when the log is not there yet."""
    columns = ["resource_type", "resource_id", "content_hash", "fell_out"]
    found: Any = pa.table(open_table(data.log.path).to_pyarrow_dataset().to_table(columns))
    return sorted((tuple(row.values()) for row in found.to_pylist()), key=str)


def last_checks(data: Dataset) -> dict[str, datetime | None]:
    """Return lastCheck by type; None where there is none."""
    status = data.status()
    marks = {kind: None if mark is pd.NA else mark for kind, mark in zip(*map(status.get, MARKS), strict=True)}
    return marks if len(status) else {}
