"""Whatever servers send, reading it ends in a value or in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.errors import UnexpectedAnswer
from s4s_lab.fhir import Capability, endpoint_references, image_addresses, patient_reference_of, study_uid_of
from s4s_lab.fhir.outcomes import is_fatal, outcome_text, quoted, words_of
from s4s_lab.fhir.pages import decode_page
from s4s_lab.net import Answer
from s4s_lab.values.uids import is_uid

NAMES = [
    "resourceType", "type", "entry", "resource", "search", "mode", "fullUrl", "link", "relation", "url", "total",
    "meta", "lastUpdated", "id", "issue", "severity", "details", "text", "diagnostics", "error", "uid", "identifier",
    "system", "value", "endpoint", "reference", "contained", "series", "address", "connectionType", "code", "coding",
    "status", "extension", "valueBoolean", "patient", "subject", "rest", "interaction", "searchParam", "name",
    "fhirVersion", "software",
]  # fmt: skip
WORDS = [
    "Bundle", "OperationOutcome", "ImagingStudy", "Endpoint", "match", "include", "next", "error", "#e1", "e1",
    "urn:dicom:uid", "urn:oid:1.2.3", "1.2.3", "https://ehr.example/studies/1.2.3", "Endpoint/e1", "dicom-wado-rs",
]  # fmt: skip
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
)
resources = st.dictionaries(st.sampled_from(NAMES), values, max_size=8)


def answered(body: bytes) -> Answer:
    return Answer(200, {"content-type": "text/plain"}, body, "https://ehr.example/fhir/ImagingStudy?x", 0.1, None)


@given(
    st.dictionaries(st.just("resourceType"), st.just("Bundle")).flatmap(lambda head: resources.map(lambda r: r | head))
)
def test_a_page_is_read_or_refused(bundle: dict[str, Any]) -> None:
    body = json.dumps(bundle).encode()
    try:
        page = decode_page(answered(body), "ImagingStudy", 1)
    except UnexpectedAnswer:
        return
    assert all(entry.raw in body and entry.mode in ("match", "include", "outcome") for entry in page.entries)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,0123eE.-+ntrulfase\\u', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        decode_page(answered(body), "ImagingStudy", 1)
    assert len(words_of(answered(body))) <= 300


@given(resources)
def test_broken_resources_break_nothing(resource: dict[str, Any]) -> None:
    lookup: Callable[[str], dict[str, Any] | None] = lambda _: resource  # noqa: E731  typed for the reader
    for address in image_addresses(resource | {"uid": "urn:oid:1.2.3"}, lookup):
        assert address.wado_base.lower().startswith(("http://", "https://"))
    assert all(isinstance(reference, str) for reference in endpoint_references(resource))
    assert is_uid(study_uid_of(resource) or "1")
    assert isinstance(patient_reference_of(resource), str | None)
    assert isinstance(outcome_text(resource) + str(is_fatal(resource)), str)


@given(resources, st.sampled_from([*WORDS, ""]))
def test_broken_statements_declare_what_they_can(statement: dict[str, Any], name: str) -> None:
    server = Capability.from_json(statement)
    declared = server.declares(name, interaction="read", parameter="_id")
    assert server.offers(name) or not declared
    assert server.fhir_version in ("stu3", "r4", None)


@given(st.text(), st.text(alphabet="abcdefgh0123456789-.", min_size=8, max_size=20))
def test_quotations_hold_no_patient_of_a_url(before: str, patient: str) -> None:
    secret = f"canary{patient}"
    for form in (f"Patient/{secret}", f"https://ehr.example/x?patient={secret}", f"subject={secret}"):
        assert secret not in quoted(f"{before} {form} ")
