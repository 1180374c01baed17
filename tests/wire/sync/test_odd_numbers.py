"""Numbers that nothing can hold, wherever they stand: the record is kept as it came, and everything goes on."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from typing import Any

import pytest

from s4s_lab import Dataset, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import ParseIssues
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer, study
from tests.wire.sync.test_pull import now, only, studies

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MARK = "a number"
PLACES: dict[str, dict[str, Any]] = {
    "a count": {"numberOfInstances": MARK},
    "a version": {"meta": {"versionId": MARK, "lastUpdated": "2020-01-01T00:00:00.000Z"}},
    "a tag": {"meta": {"versionId": "1", "lastUpdated": "2020-01-01T00:00:00.000Z", "x": [MARK]}},
    "the patient": {"patient": {"reference": "Patient/p1", "x": MARK}},
    "an endpoint": {"endpoint": [{"reference": "Endpoint/e1", "x": MARK}]},
    "a series": {"series": [{"uid": "urn:oid:1.2", "number": MARK, "endpoint": [{"reference": "Endpoint/e1"}]}]},
    "a start": {"started": MARK},
    "an unknown element": {"x": {"y": MARK}},
}
ENDPOINT = {"resourceType": "Endpoint", "id": "e1", "status": "active", "address": "https://pacs.example", "x": MARK}


NUMBERS = {"digits": "9" * 5000, "exponent": "-1e99999999999999999999", "large": "1e400"}
CASES = [
    *(("digits", place) for place in PLACES),
    ("exponent", "a version"),
    ("exponent", "a count"),
    ("large", "a tag"),
]


def writing(server: FhirServer, number: str) -> FhirServer:
    """Let a server write a number wherever the mark stands."""
    server.written = {f'"{MARK}"'.encode(): NUMBERS[number].encode()}
    return server


def refreshed(link: Connection, data: Dataset, mode: Any = "auto") -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParseIssues)
        return only(pull(link, data, types=TYPES, mode=mode))


@pytest.mark.parametrize(("number", "place"), CASES)
def test_a_record_with_a_number_that_nothing_holds_keeps_nobody_from_going_on(
    server: FhirServer, link: Connection, data: Dataset, number: str, place: str
) -> None:
    bombs = writing(server, number)
    odd = study(1, LONG_AGO, **PLACES[place])
    bombs.put(odd, study(2, LONG_AGO), ENDPOINT)
    assert refreshed(link, data).new == 2
    assert studies(data) == ["s1", "s2"]
    raw = data.log.raw(data.connections()[0], "ImagingStudy")["s1"]
    assert NUMBERS[number] in raw
    bombs.put(study(3, now()))
    assert [refreshed(link, data, mode).outcome for mode in ("update", "broad")] == ["done", "done"]
    bombs.hidden = {"s1"}  # Left out of searches, and still there to be read.
    assert (refreshed(link, data, "broad").outcome, studies(data)) == ("done", ["s1", "s2", "s3"])
    del bombs.resources["s1"]
    assert refreshed(link, data, "broad").fallen_out == 1
    assert data.verify().outcome == "done"
    data.forget(link.patient_id)
    assert data.connections() == []


@pytest.mark.parametrize("number", NUMBERS)
def test_what_has_no_place_for_it_is_told_beside_the_row(
    server: FhirServer, link: Connection, data: Dataset, number: str
) -> None:
    writing(server, number).put(study(1, LONG_AGO, numberOfInstances=MARK, description="kept"), study(2, LONG_AGO))
    pull(link, data, types=TYPES)
    rows = data.table("imaging_study").set_index("resource_id")
    assert rows["number_of_instances"].isna().to_dict() == {"s1": True, "s2": False}
    assert rows.loc["s1", "description"] == "kept"
    told = [[issue for issue in issues if "number_of_instances" in str(issue)] for issues in rows["parse_issues"]]
    assert [len(issues) for issues in told] == [1, 0]
