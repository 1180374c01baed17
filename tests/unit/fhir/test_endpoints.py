"""Where a study's images are: every form in which servers name it, and those that name nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from s4s_lab.fhir import ImageAddress, endpoint_references, image_addresses, patient_reference_of, study_uid_of

UID = "2.16.124.113543.6003.1154777499.30246.19789.3503430045"
WADO = "https://imaging-server/Patient/smart-1288992/$wado-rs"
WADO_RS = {"system": "http://hl7.org/fhir/endpoint-connection-type", "code": "dicom-wado-rs"}
TOKEN_NEEDED = "http://hl7.org/fhir/smart-app-launch/StructureDefinition/requires-access-token"

Json = dict[str, Any]


def endpoint(address: object = WADO, **changes: Any) -> Json:
    return {"resourceType": "Endpoint", "id": "e1", "connectionType": WADO_RS, "address": address, **changes}


def study(*references: str, **changes: Any) -> Json:
    named = [{"reference": reference} for reference in references]
    return {"resourceType": "ImagingStudy", "uid": f"urn:oid:{UID}", "endpoint": named, **changes}


def bases(study: Json, known: dict[str, Json] | None = None) -> list[str]:
    return [address.wado_base for address in image_addresses(study, (known or {}).get)]


def test_the_example_of_the_s4s_page_resolves() -> None:
    page_endpoint = {"resourceType": "Endpoint", "url": WADO}
    found = image_addresses(study("Endpoint/1"), {"Endpoint/1": page_endpoint}.get)
    assert found == [ImageAddress(WADO, UID, None, "relative")]
    assert f"{found[0].wado_base}/studies/{found[0].study_uid}" == f"{WADO}/studies/{UID}"


def test_the_study_of_rsnas_broker_resolves() -> None:
    broker = study("#wado-endpoint-id", "http://localhost:9090/dcm4chee-arc/aets/DCM4CHEE/rs/studies/" + UID)
    wado = f"http://localhost:4567/wado-rs/studies/{UID}"
    broker["contained"] = [endpoint(wado, id="wado-endpoint-id", payloadType=[{"text": "DICOM WADO-RS"}])]
    asked: list[str] = []
    assert image_addresses(broker, lambda reference: asked.append(reference)) == [
        ImageAddress("http://localhost:4567/wado-rs", UID, None, "contained"),
        ImageAddress("http://localhost:9090/dcm4chee-arc/aets/DCM4CHEE/rs", UID, None, "url"),
    ]
    assert asked == []


@pytest.mark.parametrize(
    ("reference", "source"),
    [
        ("Endpoint/e1", "relative"), ("Endpoint/e1/_history/2", "relative"),
        ("https://ehr.example/fhir/Endpoint/e1", "absolute"), ("HTTPS://ehr.example/fhir/Endpoint/e1", "absolute"),
        ("urn:uuid:b0a5e427-7e5d-4b5c-8d5e-1f1f1f1f1f1f", "included"), ("urn:oid:1.2.3", "included"),
    ],
)  # fmt: skip
def test_references_are_looked_up(reference: str, source: str) -> None:
    found = image_addresses(study(reference), {reference: endpoint()}.get)
    assert found == [ImageAddress(WADO, UID, None, source)]  # type: ignore[arg-type]  # a literal by value


@pytest.mark.parametrize("reference", ["#a+b/c==", "a+b/c=="])
def test_contained_endpoints_are_found_with_and_without_their_hash(reference: str) -> None:
    assert bases(study(reference, contained=[{"id": None}, endpoint(id="a+b/c==")])) == [WADO]


def test_a_reference_to_what_is_not_contained_is_not_asked_for() -> None:
    asked: list[str] = []
    assert image_addresses(study("#missing", contained=[endpoint()]), lambda ref: asked.append(ref)) == []
    assert asked == []


@pytest.mark.parametrize(
    ("address", "base"),
    [
        (WADO, WADO), (f"{WADO}/", WADO), (f"{WADO}/studies/{UID}", WADO), (f"{WADO}/studies/{UID}/", WADO),
        (f"{WADO}/studies/urn:oid:{UID}", WADO), (f"{WADO}/studies/urn%3Aoid%3A{UID}", WADO),
        (f"{WADO}/studies", WADO), (f"{WADO}/studies/{UID}/series/1.2.3", WADO), (f" {WADO} ", WADO),
        ("https://pacs.example/studies/rs", "https://pacs.example/studies/rs"),
        (f"https://pacs.example/studies/rs/studies/{UID}", "https://pacs.example/studies/rs"),
        (f"https://pacs.example/studies/{UID}", "https://pacs.example"),
        ("http://127.0.0.1:8042/dicom-web", "http://127.0.0.1:8042/dicom-web"),
    ],
)  # fmt: skip
def test_an_address_is_a_base_or_already_names_the_study(address: str, base: str) -> None:
    assert bases(study("Endpoint/1"), {"Endpoint/1": endpoint(address)}) == [base]


@pytest.mark.parametrize(
    "unusable",
    [
        endpoint("mailto:someone@example.org"), endpoint("127.0.0.1"), endpoint(""), endpoint(None), endpoint("/wado"),
        endpoint(["x"]), endpoint("ftp://pacs.example"), endpoint("https://[::1"), endpoint("https://pacs:port/"),
        endpoint(connectionType={"code": "dicom-qido-rs"}), endpoint(connectionType={"code": "ihe-iid"}),
        endpoint(status="off"), endpoint(status="entered-in-error"), {},
    ],
)  # fmt: skip
def test_what_cannot_be_retrieved_from_is_left_out(unusable: Json) -> None:
    known = {"Endpoint/1": unusable, "Endpoint/2": endpoint("https://usable.example")}
    assert bases(study("Endpoint/1", "Endpoint/2"), known) == ["https://usable.example"]


@pytest.mark.parametrize(
    "connection_type",
    [WADO_RS, [WADO_RS], [{"coding": [{"code": "dicom-qido-rs"}]}, {"coding": [WADO_RS]}],
     {"system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type", "code": "dicom-wado-rs"}],
)  # fmt: skip
def test_wado_rs_is_declared_in_several_shapes(connection_type: object) -> None:
    assert bases(study("Endpoint/1"), {"Endpoint/1": endpoint(connectionType=connection_type)}) == [WADO]


def test_declared_services_come_first_and_each_once() -> None:
    known = {
        "Endpoint/1": endpoint("https://undeclared.example", connectionType=None),
        "Endpoint/2": endpoint("https://declared.example/"),
        "Endpoint/3": endpoint(f"https://declared.example/studies/{UID}"),
    }
    found = bases(study("https://raw.example/rs", "Endpoint/1", "Endpoint/2", "Endpoint/3"), known)
    assert found == ["https://declared.example", "https://raw.example/rs", "https://undeclared.example"]


@pytest.mark.parametrize(
    ("extension", "needed"),
    [
        ([{"url": TOKEN_NEEDED, "valueBoolean": True}], True), ([{"url": TOKEN_NEEDED, "valueBoolean": False}], False),
        ([{"url": TOKEN_NEEDED}], False), ([{"url": TOKEN_NEEDED, "valueBoolean": "true"}], False),
        ([{"url": "http://example.org/other", "valueBoolean": True}], None), (None, None), ([None], None),
    ],
)  # fmt: skip
def test_whether_a_token_is_needed_is_told_by_the_extension_only(extension: object, needed: bool | None) -> None:
    (found,) = image_addresses(study("Endpoint/1"), {"Endpoint/1": endpoint(extension=extension)}.get)
    assert found.requires_access_token is needed


def test_references_of_study_and_series_are_listed_once_in_order() -> None:
    series = [{"endpoint": [{"reference": "Endpoint/2"}, {"reference": "Endpoint/3"}]}, None, {"endpoint": None}]
    assert endpoint_references(study("Endpoint/2", " Endpoint/1 ", series=series)) == [
        "Endpoint/2", "Endpoint/1", "Endpoint/3",
    ]  # fmt: skip


@pytest.mark.parametrize("named", [None, [], {}, "x", [None], [{"reference": None}], [{"display": "PACS"}], [["x"]]])
def test_no_reference_is_no_reference(named: object) -> None:
    assert endpoint_references({"endpoint": named}) == []
    assert bases({"uid": UID, "endpoint": named}) == []


def test_one_endpoint_may_stand_without_a_list() -> None:
    assert endpoint_references({"endpoint": {"reference": "Endpoint/1"}}) == ["Endpoint/1"]


def test_a_study_without_uid_has_no_address() -> None:
    assert image_addresses({"endpoint": [{"reference": "Endpoint/1"}]}, lambda _: endpoint()) == []


@pytest.mark.parametrize(
    "holder",
    [
        {"uid": f"urn:oid:{UID}"}, {"uid": UID}, {"uid": f" URN:OID:{UID} "},
        {"identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"}]},
        {"identifier": [{"system": "urn:dicom:uid", "value": UID}]},
        {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"}},
        {"identifier": [{"value": "42"}, {"system": "urn:ietf:rfc:3986", "value": f"urn:oid:{UID}"}]},
        {"identifier": [{"system": "urn:ietf:rfc:3986", "value": "urn:oid:1.2.3"},
                        {"system": "urn:dicom:uid", "value": UID}]},
        {"uid": "2.16.124.113543.6003.sample.1.1", "identifier": [{"system": "urn:dicom:uid", "value": UID}]},
        {"uid": f"urn:oid:{UID}", "identifier": [{"system": "urn:dicom:uid", "value": "1.2.3"}]},
    ],
)  # fmt: skip
def test_the_study_uid_is_found_bare(holder: Json) -> None:
    assert study_uid_of(holder) == UID


@pytest.mark.parametrize(
    "holder",
    [
        {}, {"uid": None}, {"uid": 5}, {"uid": ""}, {"uid": "../../etc/passwd"}, {"uid": "1." * 40 + "1"},
        {"identifier": [{"system": "urn:ietf:rfc:3986", "value": UID}]}, {"identifier": [{"value": UID}]},
        {"identifier": [{"system": "urn:dicom:uid", "value": "urn:uuid:1"}]}, {"identifier": None},
    ],
)  # fmt: skip
def test_what_is_no_uid_is_no_study_uid(holder: Json) -> None:
    assert study_uid_of(holder) is None


@pytest.mark.parametrize(
    ("resource", "reference"),
    [
        ({"patient": {"reference": "Patient/1"}}, "Patient/1"), ({"subject": {"reference": "Patient/1"}}, "Patient/1"),
        ({"beneficiary": {"reference": " Patient/1 "}}, "Patient/1"), ({"patient": [{"reference": "P/1"}]}, "P/1"),
        ({"patient": {"display": "x"}, "subject": {"reference": "Patient/2"}}, "Patient/2"),
        ({"patient": "Patient/1"}, None), ({"patient": None}, None), ({}, None), ({"patient": {"reference": 1}}, None),
    ],
)  # fmt: skip
def test_the_patient_of_a_resource_is_found(resource: Json, reference: str | None) -> None:
    assert patient_reference_of(resource) == reference


@pytest.mark.parametrize("version", ["stu3", "r4"])
def test_hl7s_example_names_its_endpoint_once(version: str, test_data: Path) -> None:
    example = json.loads((test_data / "fhir" / version / "hl7-spec" / "ImagingStudy-example-xr.json").read_text())
    assert len(endpoint_references(example)) == 1
    assert study_uid_of(example) == "2.16.124.113543.6003.1154777499.30246.19789.3503430046"
    (address,) = image_addresses(example, lambda _: endpoint())
    assert (address.wado_base, address.source) == (WADO, "relative")
    assert patient_reference_of(example) == "Patient/dicom"
