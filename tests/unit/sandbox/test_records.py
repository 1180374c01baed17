"""Records of invented people: complete, consistent with each other, and with the images."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from s4s_lab.sandbox.archive import Archive
from s4s_lab.sandbox.archive.synthetic import change, synthetic_archive
from s4s_lab.values.instants import parse_date_time

WADO = "http://127.0.0.1:1/wado"
TYPES = ("Patient", "Coverage", "ImagingStudy", "DiagnosticReport", "ExplanationOfBenefit", "Endpoint")


@pytest.fixture(scope="module")
def archive() -> Archive:
    return synthetic_archive(20, WADO)


def every(archive: Archive, resource_type: str) -> list[dict[str, Any]]:
    """Every resource of a type, with numbers as they are spelled."""
    found = {}
    for person in archive.participants:
        for one in archive.snapshot(resource_type, person.patient_id)[1]:
            found[one.resource_id] = json.loads(one.raw, parse_float=Decimal)
    return list(found.values())


def claim_kind(claim: dict[str, Any]) -> str:
    (code,) = (one["code"] for one in claim["type"]["coding"] if one["system"].endswith("/eob-type"))
    return str(code)


def test_a_seed_gives_the_same_records(archive: Archive) -> None:
    again = synthetic_archive(20, WADO)
    for resource_type in TYPES:
        assert every(again, resource_type) == every(archive, resource_type)
    assert every(synthetic_archive(21, WADO), "Patient") != every(archive, "Patient")


def test_every_participant_has_something_of_everything(archive: Archive) -> None:
    for person in archive.participants:
        for resource_type in TYPES:
            assert archive.snapshot(resource_type, person.patient_id)[1], resource_type


def test_patients_have_what_a_patient_profile_asks(archive: Archive) -> None:
    for patient in every(archive, "Patient"):
        assert patient["identifier"][0]["system"]
        assert patient["identifier"][0]["value"].isdigit()
        name = patient["name"][0]
        assert name["use"] == "official"
        assert name["family"]
        assert name["given"][0]
        assert patient["gender"] in ("female", "male")
        assert patient["address"][0]["city"] == "Marlow Falls"
        assert parse_date_time(patient["birthDate"]).year < 1990


def test_claims_are_of_many_kinds(archive: Archive) -> None:
    kinds = Counter(map(claim_kind, every(archive, "ExplanationOfBenefit")))
    assert set(kinds) == {"INPATIENT", "OUTPATIENT", "CARRIER", "PDE", "ORAL"}
    types = {one["code"] for claim in every(archive, "ExplanationOfBenefit") for one in claim["type"]["coding"]}
    assert types >= {"institutional", "professional", "pharmacy", "oral"}


def test_a_claim_adds_up_to_the_cent(archive: Archive) -> None:
    for claim in every(archive, "ExplanationOfBenefit"):
        assert sum(item["net"]["value"] for item in claim["item"]) == claim["totalCost"]["value"]
        paid = Decimal(0)
        for item in claim["item"]:
            amounts = {one["category"]["coding"][0]["display"]: one["amount"]["value"] for one in item["adjudication"]}
            assert amounts["Submitted charge"] == item["net"]["value"]
            assert (
                amounts["Payment"] + amounts["Coinsurance"] == amounts["Allowed charge"] <= amounts["Submitted charge"]
            )
            paid += amounts["Payment"]
        assert claim["payment"]["amount"]["value"] == paid
        assert all(value.as_tuple().exponent == -2 for value in amounts.values())


def test_items_point_at_what_the_claim_holds(archive: Archive) -> None:
    for claim in every(archive, "ExplanationOfBenefit"):
        assert [item["sequence"] for item in claim["item"]] == list(range(1, len(claim["item"]) + 1))
        care_team = {one["sequence"] for one in claim["careTeam"]}
        diagnoses = {one["sequence"] for one in claim["diagnosis"]}
        for item in claim["item"]:
            assert set(item["careTeamLinkId"]) <= care_team
            assert set(item["diagnosisLinkId"]) <= diagnoses
            assert claim["billablePeriod"]["start"] <= item["servicedPeriod"]["start"]
            assert item["servicedPeriod"]["end"] <= claim["billablePeriod"]["end"]


def test_claims_have_the_shape_of_stu3(archive: Archive) -> None:
    for claim in every(archive, "ExplanationOfBenefit"):
        assert isinstance(claim["insurance"], dict)
        assert isinstance(claim["outcome"], dict)
        assert {"use", "insurer_reference", "total", "supportingInfo"}.isdisjoint(claim)
        assert set(claim["totalCost"]) == {"value", "system", "code"}
        assert any("valueMoney" in one for one in claim["extension"])


def test_every_study_has_its_claims_on_the_day(archive: Archive) -> None:
    days = Counter(claim["billablePeriod"]["start"] for claim in every(archive, "ExplanationOfBenefit"))
    for study in every(archive, "ImagingStudy"):
        assert days[study["started"][:10]] >= 2


def test_a_study_lists_what_it_counts(archive: Archive) -> None:
    for study in every(archive, "ImagingStudy"):
        assert study["numberOfSeries"] == len(study["series"])
        assert study["numberOfInstances"] == sum(len(one["instance"]) for one in study["series"])
        assert all(one["numberOfInstances"] == len(one["instance"]) for one in study["series"])
        assert study["started"].endswith("-05:00")


def test_endpoints_are_contained_or_referred_to_and_lead_to_the_image_server(archive: Archive) -> None:
    forms = Counter(study["endpoint"][0]["reference"] for study in every(archive, "ImagingStudy"))
    assert set(forms) == {"#images", "Endpoint/wado-rs"}
    addresses = {one["address"] for study in every(archive, "ImagingStudy") for one in study.get("contained", ())}
    assert addresses == {one["address"] for one in every(archive, "Endpoint")} == {WADO}


def test_records_reach_the_server_after_what_they_tell_of(archive: Archive) -> None:
    for study in every(archive, "ImagingStudy"):
        late = parse_date_time(study["meta"]["lastUpdated"]) - parse_date_time(study["started"])
        assert timedelta(0) < late < timedelta(days=6)
    assert all(
        parse_date_time(claim["meta"]["lastUpdated"]) > parse_date_time(claim["billablePeriod"]["end"])
        for claim in every(archive, "ExplanationOfBenefit")
    )


def test_reports_tell_of_studies_and_some_studies_have_none(archive: Archive) -> None:
    reported = {one["imagingStudy"][0]["reference"] for one in every(archive, "DiagnosticReport")}
    studies = {f"ImagingStudy/{one['id']}" for one in every(archive, "ImagingStudy")}
    assert reported < studies


def test_a_change_keeps_reports_truthful() -> None:
    archive = synthetic_archive(20, WADO)
    for person in archive.participants:
        before = datetime.now(UTC)
        done = change(archive, person.patient_id, 0, WADO)
        reported = {
            one["imagingStudy"][0]["reference"]
            for one in every(archive, "DiagnosticReport")
            if one["subject"]["reference"] == f"Patient/{person.patient_id}"
        }
        assert done.removed[0] not in reported
        for reference in (*done.added, *done.changed):
            stored = archive.read(*reference.split("/"))
            assert stored is not None
            assert stored.last_updated >= before.replace(microsecond=0)


def test_a_change_without_any_record_adds_and_removes_nothing() -> None:
    archive = Archive(synthetic_archive(20, WADO).participants)
    done = change(archive, archive.participants[0].patient_id, 0, WADO)
    assert (len(done.added), done.changed, done.removed) == (2, [], [])
