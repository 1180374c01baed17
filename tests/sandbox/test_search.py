"""Searching over the wire: parameters, Bundles, outcomes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from s4s_lab.values.instants import format_instant, parse_date_time
from tests.sandbox.app import App, Reader, link, matches


@pytest.mark.clause("S4S-6", "S4S-8")
@pytest.mark.parametrize("resource_type", ["ImagingStudy", "ExplanationOfBenefit"])
def test_the_broad_query_gives_everything_of_the_patient(reader: Reader, resource_type: str) -> None:
    bundle = reader.search(resource_type, patient=reader.patient_id, _count="500")
    assert bundle["resourceType"] == "Bundle"
    assert bundle["type"] == "searchset"
    assert bundle["total"] == len(bundle["entry"]) > 5
    for entry in bundle["entry"]:
        resource = entry["resource"]
        assert resource["patient"]["reference"] == f"Patient/{reader.patient_id}"
        assert entry["fullUrl"] == f"{reader.app.server.fhir_url}/{resource_type}/{resource['id']}"
        assert entry["search"] == {"mode": "match"}


@pytest.mark.clause("S4S-7", "S4S-9")
@pytest.mark.parametrize("resource_type", ["ImagingStudy", "ExplanationOfBenefit"])
def test_the_narrow_query_gives_what_changed_after_last_check(reader: Reader, resource_type: str) -> None:
    held = reader.resources(resource_type)
    stamps = sorted(one["meta"]["lastUpdated"] for one in held)
    for last_check in (stamps[0], stamps[len(stamps) // 2], stamps[-1]):
        found = reader.resources(resource_type, patient=reader.patient_id, _lastUpdated=f"gt{last_check}")
        assert {one["id"] for one in found} == {one["id"] for one in held if one["meta"]["lastUpdated"] > last_check}


@pytest.mark.clause("S4S-11")
def test_last_updated_is_an_instant_with_milliseconds_and_zone_at_different_moments(reader: Reader) -> None:
    stamps = [one["meta"]["lastUpdated"] for one in reader.resources("ExplanationOfBenefit")]
    assert len(set(stamps)) == len(stamps)
    for stamp in stamps:
        assert format_instant(parse_date_time(stamp)) == stamp
        assert parse_date_time(stamp) < datetime(2026, 1, 1, tzinfo=UTC)


def test_several_last_updated_must_all_hold(reader: Reader) -> None:
    held = sorted(reader.resources("ImagingStudy"), key=lambda one: str(one["meta"]["lastUpdated"]))
    low, high = held[1]["meta"]["lastUpdated"], held[3]["meta"]["lastUpdated"]
    url = f"{reader.app.server.fhir_url}/ImagingStudy?_lastUpdated=ge{low}&_lastUpdated=lt{high}"
    assert [one["id"] for one in matches(reader.get(url).json())] == [one["id"] for one in held[1:3]]


def test_one_of_several_values_is_enough(reader: Reader) -> None:
    held = reader.resources("ImagingStudy")
    ids = {one["id"] for one in held[:2]}
    assert {one["id"] for one in reader.resources("ImagingStudy", _id=",".join(ids))} == ids
    stamps = ",".join(one["meta"]["lastUpdated"] for one in held[:2])
    assert {one["id"] for one in reader.resources("ImagingStudy", _lastUpdated=stamps)} == ids


@pytest.mark.parametrize("form", ["{id}", "Patient/{id}", "{base}/Patient/{id}"])
def test_the_patient_may_be_written_in_three_ways(reader: Reader, form: str) -> None:
    value = form.format(id=reader.patient_id, base=reader.app.server.fhir_url)
    for resource_type, name in (
        ("ImagingStudy", "patient"),
        ("Coverage", "beneficiary"),
        ("DiagnosticReport", "subject"),
    ):
        total = reader.search(resource_type)["total"]
        assert reader.search(resource_type, **{name: value})["total"] == total > 0
        assert reader.search(resource_type, **{f"{name}:Patient": value})["total"] == total


def test_a_study_is_found_by_its_uid_and_its_accession_number(reader: Reader) -> None:
    study = reader.resources("ImagingStudy")[2]
    uid = study["uid"].removeprefix("urn:oid:")
    for value in (
        study["uid"],
        uid,
        f"urn:dicom:uid|{study['uid']}",
        study["accession"]["value"],
        f"|{study['accession']['value']}",
    ):
        assert [one["id"] for one in reader.resources("ImagingStudy", identifier=value)] == [study["id"]], value
    for value in ("urn:dicom:other|" + uid, uid[:-1], f"|{uid}", "|"):
        assert reader.search("ImagingStudy", identifier=value)["total"] == 0, value


def test_a_patient_is_found_by_its_record_number(reader: Reader) -> None:
    identifier = reader.resources("Patient")[0]["identifier"][0]
    assert identifier["type"]["coding"][0]["code"] == "MR"
    for value in (identifier["value"], f"{identifier['system']}|{identifier['value']}", f"{identifier['system']}|"):
        assert reader.search("Patient", identifier=value)["total"] == 1
    assert reader.search("Patient", identifier=f"urn:other|{identifier['value']}")["total"] == 0


def test_the_self_link_holds_what_was_used_and_leaves_out_what_was_not(reader: Reader) -> None:
    bundle = reader.search(
        "ImagingStudy", patient=reader.patient_id, modality="CT", _sort="started", _lastUpdated="ge2022"
    )
    query = f"patient={reader.patient_id}&_lastUpdated=ge2022"
    assert link(bundle, "self") == f"{reader.app.server.fhir_url}/ImagingStudy?{query}"
    assert reader.get(str(link(bundle, "self"))).json()["total"] == bundle["total"]


def test_strict_handling_refuses_what_would_be_ignored(reader: Reader) -> None:
    headers = {"Authorization": f"Bearer {reader.access_token}", "Prefer": "handling=strict"}
    base = f"{reader.app.server.fhir_url}/ImagingStudy"
    answered = reader.app.http.get(base + "?modality=CT", headers=headers)
    assert answered.status_code == 400
    assert "modality" in answered.json()["issue"][0]["diagnostics"]
    assert reader.app.http.get(base + "?_count=3&_lastUpdated=ge2000", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_lastUpdated", "yesterday"),
        ("_lastUpdated", "gt2022-13"),
        ("_lastUpdated", "gt2022-01-01T10"),
        ("_lastUpdated", "xx2022"),
        ("_lastUpdated", "gt2022-01-01T10:00:00 00:00"),
        ("_lastUpdated", "ge2022,"),
        ("_count", "-1"),
        ("_count", "many"),
        ("_count", "9" * 5000),
        ("patient:exact", "x"),
        ("_id:missing", "true"),
    ],
)
def test_values_and_modifiers_that_cannot_be_are_refused_with_an_outcome(reader: Reader, name: str, value: str) -> None:
    answered = reader.get("ImagingStudy", **{name: value})
    assert answered.status_code == 400
    outcome = answered.json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["severity"] == "error"
    assert name.partition(":")[0] in outcome["issue"][0]["diagnostics"]


def test_endpoints_come_along_when_asked_and_do_not_count(reader: Reader) -> None:
    bundle = reader.search("ImagingStudy", _include="ImagingStudy:endpoint", _count="500")
    included = [one for one in bundle["entry"] if one["search"]["mode"] == "include"]
    assert [one["resource"]["resourceType"] for one in included] == ["Endpoint"]
    assert bundle["total"] == len(bundle["entry"]) - 1 == len(reader.resources("ImagingStudy"))
    assert "_include=ImagingStudy:endpoint" in str(link(bundle, "self"))
    other = reader.search("ImagingStudy", _include="ImagingStudy:patient", _count="500")
    assert len(other["entry"]) == other["total"]


@pytest.mark.parametrize("parameters", [{"_summary": "count"}, {"_count": "0"}])
def test_the_total_alone_may_be_asked(reader: Reader, parameters: dict[str, str]) -> None:
    bundle = reader.search("ExplanationOfBenefit", **parameters)
    assert bundle["total"] == len(reader.resources("ExplanationOfBenefit"))
    assert "entry" not in bundle
    assert [one["relation"] for one in bundle["link"]] == ["self"]


def test_nothing_found_is_a_bundle_too(reader: Reader) -> None:
    bundle = reader.search("ImagingStudy", _id="none")
    assert bundle["total"] == 0
    assert "entry" not in bundle


def test_a_search_may_be_posted(reader: Reader) -> None:
    url = f"{reader.app.server.fhir_url}/ImagingStudy/_search"
    headers = {"Authorization": f"Bearer {reader.access_token}"}
    form = {"patient": reader.patient_id, "_lastUpdated": "lt2023"}
    posted = reader.app.http.post(url, data=form, headers=headers).json()
    assert matches(posted) == matches(reader.search("ImagingStudy", **form))
    assert reader.app.http.post(url, json=form, headers=headers).status_code == 415


def test_the_time_of_an_answer_is_told_twice(reader: Reader) -> None:
    before = datetime.now(UTC)
    answered = reader.get("ImagingStudy")
    told = parse_date_time(answered.json()["meta"]["lastUpdated"])
    assert timedelta(milliseconds=-1) <= told - before < timedelta(seconds=10)
    assert abs(parsedate_to_datetime(answered.headers["date"]) - told) < timedelta(seconds=3)


def test_a_read_tells_its_version(reader: Reader) -> None:
    study = reader.resources("ImagingStudy")[0]
    answered = reader.get(f"ImagingStudy/{study['id']}")
    assert answered.json() == study
    assert answered.headers["etag"] == 'W/"1"'
    assert study["meta"]["versionId"] == "1"
    modified = parsedate_to_datetime(answered.headers["last-modified"])
    assert modified == parse_date_time(study["meta"]["lastUpdated"]).replace(microsecond=0)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("ImagingStudy/none", 404),
        ("Observation", 404),
        ("Observation/1", 404),
        ("imagingstudy", 404),
        ("ImagingStudy/", 404),
        ("metadata/", 404),
        ("", 404),
        ("ImagingStudy/a/b/c", 404),
        ("ImagingStudy?_format=xml", 406),
        ("ImagingStudy?_format=json", 200),
        ("ImagingStudy?_format=application/fhir%2Bjson", 200),
        ("ImagingStudy?_format=application/json+fhir", 200),
    ],
)
def test_faults_are_outcomes_in_fhir_json(reader: Reader, path: str, status: int) -> None:
    answered = reader.get(f"{reader.app.server.fhir_url}/{path}")
    assert answered.status_code == status
    assert answered.headers["content-type"] == "application/fhir+json"
    assert (answered.json()["resourceType"] == "OperationOutcome") == (status != 200)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_the_server_is_read_only(app: App, reader: Reader, method: str) -> None:
    headers = {"Authorization": f"Bearer {reader.access_token}"}
    answered = app.http.request(method, f"{app.server.fhir_url}/Patient/{reader.patient_id}", headers=headers)
    assert answered.status_code == 405
    assert answered.json()["issue"][0]["code"] == "not-supported"


def references(value: Any) -> list[str]:
    """Every reference in a resource."""
    if isinstance(value, list):
        return [one for item in value for one in references(item)]
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [one for item in value.values() for one in references(item)]
    return []


@pytest.mark.parametrize("participant", range(4))
def test_every_reference_leads_somewhere(app: App, participant: int) -> None:
    reader = app.reader(participant)
    seen = set()
    for resource_type in ("Patient", "Coverage", "ImagingStudy", "DiagnosticReport", "ExplanationOfBenefit"):
        for resource in reader.resources(resource_type):
            inside = {f"#{one['id']}" for one in resource.get("contained", ())}
            seen |= {one for one in references(resource) if one not in inside}
    assert len(seen) > 5
    for reference in seen:
        assert reader.get(reference).status_code == 200, reference
