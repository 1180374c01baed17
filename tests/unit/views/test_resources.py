"""A resource's FHIR version by its shape, and its key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from s4s_lab.views import fhir_version_of, resource_key

STUDY, EOB = "ImagingStudy", "ExplanationOfBenefit"


@pytest.mark.parametrize(
    ("resource_type", "elements", "version"),
    [
        (STUDY, {"uid": "urn:oid:1.2"}, "stu3"),
        (STUDY, {"patient": {}, "started": "2015"}, "stu3"),
        (STUDY, {"subject": {}}, "r4"),
        (STUDY, {"status": "available", "identifier": []}, "r4"),
        (STUDY, {"series": [{"instance": [{"sopClass": "urn:oid:1"}]}]}, "stu3"),
        (STUDY, {"series": [{"instance": [{"sopClass": {"code": "1"}}]}]}, "r4"),
        (STUDY, {"series": {"instance": {"sopClass": {"code": "1"}}}}, "r4"),
        (STUDY, {"numberOfSeries": 1}, None),
        (STUDY, {"uid": "1", "subject": {}}, None),
        (STUDY, {"uid": "1", "patient": {}, "subject": {}}, "stu3"),
        (EOB, {"insurance": {"coverage": {}}}, "stu3"),
        (EOB, {"insurance": [{"coverage": {}}]}, "r4"),
        (EOB, {"outcome": "complete"}, "r4"),
        (EOB, {"outcome": {"coding": []}}, "stu3"),
        (EOB, {"item": [{"service": {}}]}, "stu3"),
        (EOB, {"item": [{"productOrService": {}}]}, "r4"),
        (EOB, {"type": {"coding": [{"system": "http://hl7.org/fhir/ex-claimtype"}]}}, "stu3"),
        (EOB, {"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/claim-type"}]}}, "r4"),
        (EOB, {"type": "x", "item": "y", "insurance": 3}, None),
        ("Coverage", {"grouping": {}}, "stu3"),
        ("Coverage", {"class": []}, "r4"),
        ("DiagnosticReport", {"context": {}}, "stu3"),
        ("DiagnosticReport", {"category": [{}]}, "r4"),
        ("Patient", {"animal": {}}, "stu3"),
        ("Patient", {"gender": "male"}, None),
        ("Endpoint", {"address": "x"}, None),
        ("CapabilityStatement", {"fhirVersion": "3.0.2"}, "stu3"),
        ("CapabilityStatement", {"fhirVersion": "4.0.1"}, "r4"),
        ("CapabilityStatement", {}, None),
    ],
)
def test_the_version_is_told_by_elements_only_one_version_has(
    resource_type: str, elements: dict[str, Any], version: str | None
) -> None:
    assert fhir_version_of({"resourceType": resource_type} | elements) == version


def test_what_is_no_resource_has_no_version() -> None:
    assert fhir_version_of({}) is None
    assert fhir_version_of({"resourceType": 5}) is None


def resources_in(folder: Path) -> list[dict[str, Any]]:
    """Studies and claims of a folder's files, at any depth of Bundles."""
    found, waiting = [], [json.loads(path.read_bytes()) for path in folder.rglob("*.json")]
    while waiting:
        resource = waiting.pop()
        waiting += [entry["resource"] for entry in resource.get("entry", ()) if "resource" in entry]
        found += [resource] if resource["resourceType"] in (STUDY, EOB) else []
    return found


@pytest.mark.parametrize(("folder", "count"), [("stu3", 504), ("r4", 330)])
def test_every_real_study_and_claim_tells_its_version(test_data: Path, folder: str, count: int) -> None:
    resources = resources_in(test_data / "fhir" / folder)
    assert len(resources) == count
    assert {fhir_version_of(resource) for resource in resources} == {folder}


@pytest.mark.parametrize(
    ("elements", "key"),
    [
        ({"id": "0012"}, "0012"),
        ({"id": "-20140000008325"}, "-20140000008325"),
        ({"id": "x" * 200, "uid": "urn:oid:1.2"}, "x" * 200),
        ({"uid": "urn:oid:1.2.3"}, "1.2.3"),
        ({"uid": " 1.2.3 "}, "1.2.3"),
        ({"identifier": [{"value": "A1"}, {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]}, "1.2.3"),
        ({"identifier": [{"system": "urn:ietf:rfc:3986", "value": "urn:oid:1.2.3"}]}, "1.2.3"),
        ({"id": "", "uid": "1.2"}, "1.2"),
        ({"id": 12, "uid": "1.2"}, "1.2"),
    ],
)
def test_a_study_is_keyed_by_its_id_and_without_one_by_its_study_uid(elements: dict[str, Any], key: str) -> None:
    assert resource_key({"resourceType": STUDY} | elements) == key


def test_other_resources_without_id_are_keyed_by_their_content_in_any_order_of_members() -> None:
    key = resource_key({"resourceType": EOB, "status": "active", "uid": "1.2"})
    assert re.fullmatch("sha256-[0-9a-f]{16}", key)
    assert key == resource_key({"uid": "1.2", "status": "active", "resourceType": EOB})
    assert key != resource_key({"resourceType": EOB, "status": "cancelled", "uid": "1.2"})


@pytest.mark.parametrize("uid", ["no uid", "", 5, {"a": 1}, "urn:oid:", "2.16.sample.1", "\ud800"])
def test_a_study_uid_that_is_none_is_no_key(uid: Any) -> None:
    assert resource_key({"resourceType": STUDY, "uid": uid}).startswith("sha256-")


def test_a_resource_nested_to_the_limit_still_has_a_key() -> None:
    nested: Any = "end"
    for _ in range(5000):
        nested = [nested]
    assert resource_key({"resourceType": EOB, "extension": nested}).startswith("sha256-")
