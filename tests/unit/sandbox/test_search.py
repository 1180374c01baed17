"""Reading and matching searches, without a server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from s4s_lab.sandbox.archive import Stored, store
from s4s_lab.sandbox.fhir.bundles import MAX_PAGINGS, PAGING_LIFETIME_S, Pagings, Result, self_link
from s4s_lab.sandbox.fhir.kinds import KINDS
from s4s_lab.sandbox.fhir.search import Search, read_search
from s4s_lab.sandbox.web import FhirRefusal

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FHIR_URL = "http://127.0.0.1:1/fhir"


def study(resource_id: str, day: int, **fields: object) -> Stored:
    resource = {"resourceType": "ImagingStudy", "id": resource_id} | fields
    return store(resource, "p", datetime(2022, 1, day, tzinfo=UTC))


HELD = [
    study("a", 1, uid="urn:oid:1.2.3", accession={"value": "77"}),
    study("b", 2, uid="1.2.4", identifier=[{"system": "urn:x", "value": "77"}, {"value": "z"}]),
    study("c", 3),
]


def read(*pairs: tuple[str, str], strict: bool = False) -> Search:
    return read_search(KINDS["ImagingStudy"], pairs, patient_id="p", fhir_url=FHIR_URL, strict=strict)


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ([], "abc"),
        ([("_id", "a,c")], "ac"),
        ([("_id", "a,c"), ("_id", "c")], "c"),
        ([("_lastUpdated", "gt2022-01-01")], "bc"),
        ([("_lastUpdated", "ge2022-01-02,2022-01-01")], "abc"),
        ([("identifier", "77")], "ab"),
        ([("identifier", "|77")], "a"),
        ([("identifier", "urn:x|77")], "b"),
        ([("identifier", "urn:x|")], "b"),
        ([("identifier", "urn:oid:1.2.4")], "b"),
        ([("identifier", "1.2.3,z")], "ab"),
        ([("identifier", "urn:dicom:uid|urn:oid:1.2.3")], "a"),
        ([("identifier", "")], "abc"),
        ([("patient", "p")], "abc"),
        ([("subject", "other")], "abc"),
    ],
)
def test_parameters_match_what_fhir_says(pairs: list[tuple[str, str]], found: str) -> None:
    assert "".join(one.resource_id for one in read(*pairs).matching(HELD, NOW)) == found


def test_what_was_used_is_kept_in_order_and_the_rest_left_out() -> None:
    search = read(("foo", "1"), ("_count", "3"), ("patient:Patient", "Patient/p"), ("_sort", "x"), ("_id", ""))
    assert search.used == (("_count", "3"), ("patient:Patient", "Patient/p"))
    assert (
        self_link(FHIR_URL, "ImagingStudy", search.used)
        == f"{FHIR_URL}/ImagingStudy?_count=3&patient:Patient=Patient/p"
    )
    assert self_link(FHIR_URL, "ImagingStudy", ()) == f"{FHIR_URL}/ImagingStudy"


def test_the_page_size_has_a_default_and_a_limit() -> None:
    assert read().count == 20
    assert read(("_count", "7")).count == 7
    assert read(("_count", "100000")).count == 500
    assert read(("_count", "0")).summary


@pytest.mark.parametrize(
    ("pair", "status", "code"),
    [
        (("patient", "q"), 403, "forbidden"),
        (("patient", "http://other/fhir/Patient/p"), 403, "forbidden"),
        (("patient", "Practitioner/p"), 403, "forbidden"),
        (("patient:identifier", "p"), 400, "not-supported"),
        (("_count", "1.5"), 400, "invalid"),
        (("_count", "١"), 400, "invalid"),
        (("_lastUpdated", "gt"), 400, "invalid"),
    ],
)
def test_what_cannot_be_is_refused(pair: tuple[str, str], status: int, code: str) -> None:
    with pytest.raises(FhirRefusal) as refused:
        read(pair)
    assert (refused.value.status_code, refused.value.code) == (status, code)


def test_strict_handling_takes_what_is_known_and_empty_values() -> None:
    assert read(("_id", ""), ("_format", "json"), ("_include", "ImagingStudy:endpoint:Endpoint"), strict=True).include
    with pytest.raises(FhirRefusal, match="modality"):
        read(("modality", "CT"), strict=True)


def result(*matches: Stored) -> Result:
    return Result("ImagingStudy", "p", matches, 1, FHIR_URL, NOW, with_includes=False)


def test_results_are_kept_for_a_while_and_not_too_many() -> None:
    clock = [0.0]
    pagings = Pagings(now=lambda: clock[0])
    first = pagings.keep(result(*HELD))
    found = pagings.find(f"{first}.2")
    assert found is not None
    assert found[1:] == (2, result(*HELD))
    clock[0] += PAGING_LIFETIME_S + 1
    assert pagings.find(f"{first}.2") is None
    second = pagings.keep(result())
    for _ in range(MAX_PAGINGS):
        pagings.keep(result())
    assert pagings.find(f"{second}.0") is None
