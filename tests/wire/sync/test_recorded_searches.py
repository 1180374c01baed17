"""Every recorded searchset of the types that are pulled, replayed byte for byte by a file server, through a pull.

Those of several pages are in `test_recorded_claims`. Recorded pages whose `next` leads to the host they came from end
the type and leave nothing behind: an incomplete record is none.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from s4s_lab import Dataset, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything
from s4s_lab.fhir import Capability
from tests.wire.fhir.test_recorded_pages import counted, file_server
from tests.wire.sync.conftest import connection
from tests.wire.sync.test_pull import only

CLAIMS, COVERAGE = "ExplanationOfBenefit", "Coverage"
BB2 = "-20140000008325"
WHOLE = [
    ("stu3/cms-bfd-v1/eobByPatientIdAll.json", CLAIMS, "567834"),
    ("stu3/cms-bfd-v1/eobByPatientIdPaged.json", CLAIMS, "567834"),
    ("stu3/cms-bfd-v1/coverageSearchByPatientId.json", COVERAGE, "567834"),
    ("stu3/cms-bb2-webserver/coverage_search_v1.json", COVERAGE, BB2),
    ("stu3/cms-ab2d-pages/coverage__20140000008325.json", COVERAGE, "20140000008325"),
    ("stu3/cms-ab2d-pages/coverage__20140000009893.json", COVERAGE, "20140000009893"),
    ("stu3/cms-ab2d-pages/20140000009893.json", CLAIMS, "20140000009893"),
    ("r4/cms-bfd-v2/eobByPatientIdAll.json", CLAIMS, "567834"),
    ("r4/cms-bfd-v2/eobByPatientIdPaged.json", CLAIMS, "567834"),
    ("r4/cms-bfd-v2/coverageSearchByPatientId.json", COVERAGE, "567834"),
    ("r4/cms-bfd-v2/coverageSearchByPatientIdWithoutReferenceYear.json", COVERAGE, "567834"),
    ("r4/cms-bb2-webserver/coverage_search_v2.json", COVERAGE, BB2),
    ("r4/cms-bb2-webserver/eob_search_pt_v2.json", CLAIMS, BB2),
    ("r4/cms-bb2-webserver/eob_search_v2.json", CLAIMS, BB2),
]
BROKEN_OFF = [
    ("stu3/cms-bfd-v1/eobByPatientIdAllWithSamhsa.json", CLAIMS, "567834"),
    ("stu3/cms-bb2-webserver/eob_search_pt_v1.json", CLAIMS, BB2),
    ("stu3/cms-bb2-webserver/eob_search_v1.json", CLAIMS, BB2),
    ("stu3/rsna-broker/bug147-bundle-dstu3.json", "ImagingStudy", "1702"),
    ("r4/cms-bfd-v2/eobReadByPatientWithSamhsa.json", CLAIMS, "567834"),
    ("r4/cms-ab2d-pages/eobbundle.json", CLAIMS, "-20140000010000"),
]
TABLES = {CLAIMS: "explanation_of_benefit", COVERAGE: "coverage", "ImagingStudy": "imaging_study"}


def linked(port: int, patient_id: str, version: str) -> Connection:
    """Give a connection to the file server as to a server of a FHIR version that declares no types."""
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": {"stu3": "3.0.1", "r4": "4.0.1"}[version]}
    link = connection(f"http://127.0.0.1:{port}/fhir", patient_id)
    return replace(link, capability=Capability.from_json(statement))


@pytest.mark.parametrize(("name", "kind", "patient_id"), WHOLE)
def test_a_recorded_searchset_becomes_rows_and_its_bytes_are_kept(
    test_data: Path, data: Dataset, name: str, kind: str, patient_id: str
) -> None:
    file = test_data / "fhir" / name
    expected = {resource["id"]: resource for resource in counted(file)}
    with file_server(lambda *_: file.read_bytes()) as server:
        link = linked(server.server_port, patient_id, name.partition("/")[0])
        first = only(pull(link, data, types=[kind]))
        version = data.log.version
        second = only(pull(link, data, types=[kind]))
    assert (first.outcome, first.new, first.pages) == ("done", len(expected), 1)
    # A file server gives the same answer to every question, and is found out.
    assert (second.filter, second.new, second.unchanged) == ("ignored", 0, len(expected))
    assert data.log.version == version
    kept = data.log.raw(data.connection(link.fhir_url, patient_id), kind)
    assert {key: json.loads(raw) for key, raw in kept.items()} == expected
    content = file.read_bytes()
    assert all(raw.encode() in content for raw in kept.values())
    assert set(data.table(TABLES[kind])["resource_id"]) == set(expected)


@pytest.mark.parametrize(("name", "kind", "patient_id"), BROKEN_OFF)
def test_a_recorded_page_whose_next_is_elsewhere_ends_the_type_and_leaves_nothing(
    test_data: Path, data: Dataset, name: str, kind: str, patient_id: str
) -> None:
    file = test_data / "fhir" / name
    with file_server(lambda *_: file.read_bytes()) as server:
        link = linked(server.server_port, patient_id, name.partition("/")[0])
        with pytest.warns(NotEverything):
            result = only(pull(link, data, types=[kind]))
    assert (result.outcome, result.last_check, len(server.asked)) == ("failed", None, 1)
    assert data.log.version == 0
    assert data.table(TABLES[kind]).empty
