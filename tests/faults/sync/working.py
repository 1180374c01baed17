"""What happens to one participant's record in these tests, and what a pull may never break."""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import NamedTuple

from s4s_lab import Dataset, PullReport, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything, S4SError
from s4s_lab.sync.pulling import PullMode
from tests.faults.server.record import START, Record, study
from tests.faults.server.wire import FaultServer
from tests.wire.sync.conftest import connection

TYPES = ("ImagingStudy",)


class Kept(NamedTuple):
    """What a dataset holds, as far as a failed pull may not touch it."""

    log_version: int
    digest: str
    watermarks: tuple[tuple[str, str], ...]


def kept(data: Dataset) -> Kept:
    """Look at log and watermarks."""
    status = data.status().dropna(subset="last_check")
    marks = zip(status["resource_type"].astype(str), status["last_check"].astype(str), strict=True)
    return Kept(data.log.version, data.log.digest(), tuple(sorted(marks)))


def attempt(
    world: World, data: Dataset, mode: PullMode = "auto", link: Connection | None = None
) -> PullReport | S4SError:
    """Pull; give the report, or the typed error that ended it. Any other error ends the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotEverything)
        try:
            return pull(link or connection(world.server.url), data, mode=mode, types=TYPES)
        except S4SError as error:
            return error


def done(result: PullReport | S4SError) -> bool:
    """Say whether a pull ended well."""
    return isinstance(result, PullReport) and result.outcome == "done"


class World:
    """A server, its record, and the time."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.record = Record()
        self.begin()

    def begin(self) -> None:
        """Start anew: seven studies, some with an Endpoint, and an honest server."""
        self.record = Record()
        self.server.begin(self.record.answer)
        for number in range(7):
            endpoint = "e1" if number % 3 == 0 else None
            stamp = START - timedelta(days=40 - number)
            self.record.write("ImagingStudy", f"s{number}", study(f"s{number}", endpoint=endpoint), stamp=stamp)
        self.record.write("Endpoint", "e1", _endpoint("e1"), stamp=START - timedelta(days=50))

    def sleep(self, seconds: float) -> None:
        """Let a wait pass at once."""
        self.record.now += timedelta(seconds=seconds)

    def change(self) -> None:
        """Change one study, add four, delete one, at moments that are the same in every run; then let an hour pass."""
        at = START + timedelta(hours=1)
        self.record.now = at
        self.record.write("ImagingStudy", "s1", study("s1", description="changed"), stamp=at)
        for number in range(7, 11):
            new = study(f"s{number}", endpoint="e2" if number == 9 else None)
            self.record.write("ImagingStudy", f"s{number}", new, stamp=at + timedelta(seconds=number))
        self.record.write("Endpoint", "e2", _endpoint("e2"), stamp=at)
        self.record.write("ImagingStudy", "s3", None)
        self.record.now = at + timedelta(hours=1)


def _endpoint(key: str) -> dict[str, object]:
    return {"resourceType": "Endpoint", "id": key, "status": "active", "address": f"https://archive.example/{key}"}
