"""Imaging tables from the forms that servers give: STU3, R4, the RSNA broker, and what is malformed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from s4s_lab.views import Provenance

Tabulated = Callable[..., list[dict[str, Any]]]
NO_UID, NO_ENDPOINT = "not retrievable: no study UID", "not retrievable: no endpoint"


def study(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "ImagingStudy", "id": "s"} | elements


STU3 = study(
    uid="urn:oid:1.2.3",
    accession={"value": "A1"},
    availability="ONLINE",
    modalityList=[{"code": "CT"}],
    patient={"reference": "Patient/7"},
    context={"reference": "Encounter/e"},
    started="2011-01-01T11:01:20+03:00",
    reason={"coding": [{"system": "http://snomed.info/sct", "code": "1", "display": "why"}]},
    series=[
        {
            "uid": "urn:oid:1.2.3.1",
            "number": 3,
            "modality": {"code": "SR"},
            "bodySite": {"code": "T", "system": "s", "display": "Wrist"},
            "instance": [{"uid": "urn:oid:1.2.3.1.1", "number": 1, "sopClass": "urn:oid:1.2.840.10008.5.1.4.1.1.2"}],
        }
    ],
    endpoint=[{"reference": "Endpoint/w"}],
)
R4 = study(
    identifier=[
        {"value": "urn:oid:9.9"},
        {"type": {"coding": [{"code": "MR"}, {"code": "ACSN"}]}, "value": "A1"},
        {"system": "urn:ietf:rfc:3986", "value": "urn:uuid:0"},
        {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"},
    ],
    status="available",
    modality=[{"code": "CT"}],
    subject={"reference": "Patient/7"},
    encounter={"reference": "Encounter/e"},
    started="2011-01-01T11:01:20+03:00",
    reasonCode=[{"coding": [{"system": "http://snomed.info/sct", "code": "1", "display": "why"}]}],
    series=[
        {
            "uid": "1.2.3.1",
            "number": 3,
            "modality": {"code": "SR"},
            "bodySite": {"code": "T", "system": "s", "display": "Wrist"},
            "instance": [{"uid": "1.2.3.1.1", "number": 1, "sopClass": {"code": "1.2.840.10008.5.1.4.1.1.2"}}],
        }
    ],
    endpoint=[{"reference": "Endpoint/w"}],
)


def test_a_study_of_either_version_gives_the_same_row(tabulated: Tabulated) -> None:
    old, new = tabulated("imaging_study", STU3, R4)
    assert {name for name in old if old[name] != new[name]} == {"status", "availability"}
    assert (old["study_uid"], old["patient_id"], old["accession"]) == ("1.2.3", "7", "A1")
    assert (old["availability"], new["status"]) == ("ONLINE", "available")
    assert (old["started"], old["started_text"]) == (datetime(2011, 1, 1, 8, 1, 20, tzinfo=UTC), STU3["started"])
    assert (old["modalities"], old["reason_code_display"], old["parse_issues"]) == (["CT", "SR"], "why", [])


@pytest.mark.parametrize("view", ["imaging_series", "imaging_instance"])
def test_series_and_instances_are_the_same_from_either_version(view: str, tabulated: Tabulated) -> None:
    old, new = tabulated(view, STU3, R4)
    assert old == new
    assert (old["study_uid"], old["series_uid"], old["resource_id"]) == ("1.2.3", "1.2.3.1", "s")
    if view == "imaging_instance":
        assert (old["instance_uid"], old["sop_class"]) == ("1.2.3.1.1", "1.2.840.10008.5.1.4.1.1.2")
    else:
        assert (old["modality"], old["body_site"], old["body_site_display"]) == ("SR", "T", "Wrist")


@pytest.mark.parametrize(
    ("elements", "uid"),
    [
        ({"uid": "1.2.3"}, "1.2.3"),
        ({"uid": "URN:OID:1.2.3"}, "1.2.3"),
        ({"uid": " urn:oid:1.2.3 "}, "1.2.3"),
        ({"identifier": [{"system": "urn:dicom:uid", "value": "1.2.3"}], "patient": {}}, "1.2.3"),
        ({"identifier": [{"system": "urn:dicom:uid", "value": "1.2.3"}], "subject": {}}, "1.2.3"),
        ({"identifier": [{"system": "urn:ietf:rfc:3986", "value": "urn:oid:1.2.3"}], "subject": {}}, "1.2.3"),
        ({"identifier": {"system": "urn:dicom:uid", "value": "1.2.3"}, "subject": {}}, "1.2.3"),
    ],
)
def test_a_study_uid_is_found_in_every_form_and_stored_bare(
    elements: dict[str, Any], uid: str, tabulated: Tabulated
) -> None:
    (row,) = tabulated("imaging_study", study(**elements))
    assert row["study_uid"] == uid
    assert NO_UID not in row["parse_issues"]


def test_a_study_says_why_its_images_cannot_be_retrieved(tabulated: Tabulated) -> None:
    bare, with_uid, with_endpoint = tabulated(
        "imaging_study",
        study(subject={}),
        study(uid="urn:oid:1.2"),
        study(endpoint=[{"reference": "#e"}]),
    )
    assert bare["parse_issues"] == [NO_UID, NO_ENDPOINT]
    assert with_uid["parse_issues"] == [NO_ENDPOINT]
    assert with_endpoint["parse_issues"] == [NO_UID]


def test_an_endpoint_of_a_series_makes_its_study_retrievable(tabulated: Tabulated) -> None:
    series = [{"endpoint": [{"reference": "Endpoint/w"}]}, {"endpoint": [{"reference": "Endpoint/x"}]}]
    (row,) = tabulated("imaging_study", study(uid="1.2", series=series, endpoint=[{"reference": "Endpoint/w"}]))
    assert (row["endpoint_references"], row["parse_issues"]) == (["Endpoint/w", "Endpoint/x"], [])


def test_a_placeholder_is_kept_as_text_and_called_no_uid(tabulated: Tabulated) -> None:
    (row,) = tabulated("imaging_study", study(uid="2.16.124.sample.1", endpoint=[{"reference": "#e"}]))
    assert row["study_uid"] == "2.16.124.sample.1"
    assert row["parse_issues"] == ["study_uid: '2.16.124.sample.1' is no DICOM UID"]


def test_the_broker_of_rsna_gives_a_row_keyed_by_its_study_uid(tabulated: Tabulated) -> None:
    broker = {
        "resourceType": "ImagingStudy",
        "contained": [{"resourceType": "Endpoint", "id": "wado-endpoint-id", "address": "https://w/studies/1.2.3"}],
        "uid": "urn:oid:1.2.3",
        "accession": {"value": "A1"},
        "modalityList": [{"code": "CT"}],
        "patient": {"reference": "Patient/7"},
        "endpoint": [{"reference": "#wado-endpoint-id"}, {"reference": "https://pacs/wado?study=1.2.3"}],
        "referrer": {"display": "Dr. X"},
        "started": "2016-04-16T10:00:00.000-05:00",
    }
    (row,) = tabulated("imaging_study", broker)
    assert (row["resource_id"], row["study_uid"], row["last_updated"]) == ("1.2.3", "1.2.3", None)
    assert row["endpoint_references"] == ["#wado-endpoint-id", "https://pacs/wado?study=1.2.3"]
    assert (row["patient_id"], row["accession"], row["parse_issues"]) == ("7", "A1", [])
    assert tabulated("imaging_series", broker) == []


def test_what_is_malformed_becomes_null_and_is_said_and_the_row_stays(tabulated: Tabulated) -> None:
    odd = study(
        id=123,
        meta="x",
        uid=5,
        patient="Patient/1",
        started="yesterday",
        modalityList={"code": "CT"},
        numberOfSeries="3",
        numberOfInstances=2**31,
        description=["a", "b"],
        series="none",
        endpoint=["http://x/y"],
    )
    (row,) = tabulated("imaging_study", odd)
    assert row["modalities"] == ["CT"]
    assert row["started_text"] == "yesterday"
    assert row["resource_id"].startswith("sha256-")
    for issue in (
        "resource_id: 123 is no id",
        "last_updated: 'x' is no object",
        "study_uid: 5 is no oid",
        "patient_id: 'Patient/1' is no object",
        "started: 'yesterday' is no dateTime",
        "modalities: 'none' is no object",
        "number_of_series: '3' is no unsignedInt",
        "number_of_instances: 2147483648 does not fit 32 bits",
        "description: 2 values where one is due",
        "endpoint_references: 'http://x/y' is no object",
    ):
        assert issue in row["parse_issues"]
    nothing = ("study_uid", "patient_id", "started", "number_of_series", "number_of_instances", "description")
    assert [row[name] for name in nothing] == [None] * len(nothing)


def test_objects_where_lists_are_due_and_nulls_in_lists_are_read_all_the_same(tabulated: Tabulated) -> None:
    series = {"uid": "1.2.1", "instance": {"uid": "1.2.1.1", "sopClass": "1.2.840"}}
    plain, mixed = study(uid="1.2", series=series), study(uid="1.2", series=[None, series, None])
    for resource in (plain, mixed):
        (row,) = tabulated("imaging_instance", resource)
        assert (row["series_uid"], row["instance_uid"], row["parse_issues"]) == ("1.2.1", "1.2.1.1", [])


def test_an_element_of_a_list_that_is_no_object_keeps_its_row_with_the_issue(tabulated: Tabulated) -> None:
    rows = tabulated("imaging_series", study(uid="1.2", series=["one", {"uid": "1.2.2"}]))
    assert [row["series_uid"] for row in rows] == [None, "1.2.2"]
    assert "series_uid: 'one' is no object" in rows[0]["parse_issues"]
    assert rows[1]["parse_issues"] == []
    assert [row["series_uid"] for row in tabulated("imaging_instance", study(series=["one"]))] == []


def test_the_version_that_the_server_declares_goes_before_the_shape(tabulated: Tabulated) -> None:
    ambiguous = study(identifier=[{"system": "urn:dicom:uid", "value": "1.2"}], status="available")
    (as_r4,) = tabulated("imaging_study", ambiguous, provenance=Provenance(fhir_version="r4"))
    (as_stu3,) = tabulated("imaging_study", ambiguous, provenance=Provenance(fhir_version="stu3"))
    assert (as_r4["status"], as_stu3["status"]) == ("available", None)
    assert as_r4["study_uid"] == as_stu3["study_uid"] == "1.2"


@pytest.mark.parametrize(
    ("elements", "base"),
    [
        ({"address": "https://pacs/wado/"}, "https://pacs/wado"),
        ({"address": "https://pacs/wado/studies/1.2.3"}, "https://pacs/wado"),
        ({"address": "https://pacs/wado/studies/"}, "https://pacs/wado"),
        ({"url": "https://pacs/wado"}, "https://pacs/wado"),
        ({"address": "https://pacs/a", "url": "https://pacs/b"}, "https://pacs/a"),
        ({"address": "https://pacs/x", "connectionType": {"code": "hl7-fhir-rest"}}, None),
        ({}, None),
    ],
)
def test_an_endpoint_tells_the_base_below_which_studies_lie(
    elements: dict[str, Any], base: str | None, tabulated: Tabulated
) -> None:
    endpoint = {"resourceType": "Endpoint", "id": "e", "connectionType": {"code": "dicom-wado-rs"}} | elements
    (row,) = tabulated("imaging_endpoint", endpoint)
    assert row["resolved_wado_base"] == base
    assert row["address"] == elements.get("address", elements.get("url"))


def test_payload_types_fall_back_to_text_where_no_code_is_given(tabulated: Tabulated) -> None:
    payload = [{"text": "DICOM"}, {"coding": [{"code": "any"}]}]
    (row,) = tabulated("imaging_endpoint", {"resourceType": "Endpoint", "payloadType": payload})
    assert row["payload_types"] == ["any", "DICOM"]
