"""What other processes do in these tests, and the living server that they pull from."""

from __future__ import annotations

import threading
import warnings
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from s4s_lab import Dataset, open_dataset, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import DatasetBusy, TableBehind
from s4s_lab.sync.pulling import PullMode
from tests.faults.server.record import Record, study
from tests.faults.server.wire import Reply, Request
from tests.wire.sync.conftest import connection

TYPES = ("ImagingStudy",)
KIND = "ImagingStudy"


class Living:
    """Records of several patients that go by the real clock; a read finds the record by the resource's name."""

    def __init__(self, patients: tuple[str, ...]) -> None:
        self.records = {name: Record(tick=timedelta(), page=20) for name in patients}
        self._one_at_a_time = threading.Lock()

    def write(self, patient: str, number: int, description: str | None) -> None:
        """Write a patient's study number so and so; delete it when there is nothing to write."""
        key = f"{patient}-{number}"
        whose = {"reference": f"Patient/{patient}"}
        with self._one_at_a_time:
            record = self.records[patient]
            record.now = datetime.now(UTC)
            record.write(KIND, key, None if description is None else study(key, patient=whose, description=description))

    def answer(self, request: Request) -> Reply:
        """Answer one GET."""
        parts = urlsplit(request.target)
        patient = parse_qs(parts.query).get("patient", [parts.path.rpartition("/")[2].partition("-")[0]])[0]
        with self._one_at_a_time:
            record = self.records[patient]
            record.now = datetime.now(UTC)
            return record.answer(request)


def pull_often(pipe: Pipe, root: Path, fhir_url: str, patient: str, times: int) -> None:
    """Pull so many times, broad now and then, and once more when told; whoever is busy is asked again."""
    data, link = open_dataset(root), connection(fhir_url, patient)
    pipe.send("ready")
    pipe.recv()
    for turn in range(times):
        pull_when_free(data, link, "broad" if turn % 5 == 1 else "auto")
    pipe.send("pulled")
    pipe.recv()
    pull_when_free(data, link, "broad")
    pipe.send("done")


def pull_when_free(data: Dataset, link: Connection, mode: PullMode) -> None:
    """Pull, again and again until nobody else pulls the same connection."""
    while True:
        try:
            report = pull(link, data, mode=mode, types=TYPES)
        except DatasetBusy:
            continue
        assert report.outcome == "done", report
        return


def read_often(pipe: Pipe, root: Path) -> None:
    """Read log and table until told to stop; answer with the digests and the table states that were seen."""
    data = open_dataset(root)
    pipe.send("ready")
    digests: list[str] = []
    tables: list[tuple[int, tuple[str, ...]]] = []
    while not pipe.poll():
        digests.append(data.log.digest())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TableBehind)
            descriptions = data.table("imaging_study")["description"]
        tables.append((len(descriptions), tuple(sorted(set(descriptions)))))
    pipe.send((digests, tables))
