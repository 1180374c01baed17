"""JSON in the log that no reader takes: the other resources have their rows, and verify names its file."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest

from s4s_lab.errors import ParseIssues
from s4s_lab.lake import Dataset
from tests.unit.lake.records import hash_of, put, version_of

PATIENTS = [{"resourceType": "Patient", "id": key} for key in ("a", "b")]


@pytest.mark.parametrize("raw", ["\ufeff" + json.dumps(PATIENTS[0]), "{"])
def test_a_resource_that_cannot_be_read_keeps_no_other_from_the_tables(data: Dataset, raw: str) -> None:
    record = data.connection("https://ehr.example/fhir", "a")
    good, bad = version_of(PATIENTS[1]), replace(version_of(PATIENTS[0]), raw=raw)
    put(data, record, [bad, good])
    with pytest.warns(ParseIssues, match="1 resources of the log cannot be read"):
        data.refresh()
    assert data.table("patient")["resource_id"].tolist() == ["b"]
    (problem,) = [one for one in data.verify().problems if one.part == "resources"]
    assert problem.what.startswith("It has 1 rows whose JSON is not what was received")


@pytest.mark.parametrize("element", ["x", "multipleBirthInteger", "active"])
@pytest.mark.parametrize("number", ["1e400", "1e99999999999999999999", "9" * 5000])
def test_a_number_that_no_float_holds_is_no_fault(data: Dataset, number: str, element: str) -> None:
    raw = f'{{"resourceType": "Patient", "id": "a", "gender": "female", "{element}": {number}}}'
    version = replace(version_of(PATIENTS[0]), raw=raw, content_hash=hash_of(raw))
    put(data, data.connection("https://ehr.example/fhir", "a"), [version, version_of(PATIENTS[1])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParseIssues)
        data.refresh()
    assert sorted(data.table("patient")["resource_id"]) == ["a", "b"]
    assert [one for one in data.verify().problems if one.part == "resources"] == []
