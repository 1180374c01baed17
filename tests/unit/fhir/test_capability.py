"""What a server declares, read from statements of real servers and from broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from s4s_lab.fhir import Capability


def capability(**statement: Any) -> Capability:
    return Capability.from_json({"resourceType": "CapabilityStatement", **statement})


RESOURCES = [
    {
        "type": "ImagingStudy",
        "interaction": [{"code": "search-type"}],
        "searchParam": [{"name": "patient", "type": "reference"}],
    },
    {"type": "Endpoint", "interaction": [{"code": "read"}]},
]
SHARED = [{"name": "_lastUpdated"}]


@pytest.mark.parametrize(
    ("text", "version"),
    [("3.0.1", "stu3"), ("3.0.2", "stu3"), ("4.0.1", "r4"), ("4.3.0", "r4"), ("1.0.2", None), ("5.0.0", None),
     ("", None), (None, None), (4, None), (" 3.0.1 ", "stu3")],
)  # fmt: skip
def test_the_fhir_version_is_told_by_its_first_number(text: object, version: str | None) -> None:
    assert capability(fhirVersion=text).fhir_version == version


def test_a_declared_search_is_found() -> None:
    server = capability(rest=[{"mode": "server", "resource": RESOURCES, "searchParam": SHARED}])
    assert server.declares("ImagingStudy")
    assert server.declares("ImagingStudy", interaction="search-type", parameter="patient")
    assert server.declares("ImagingStudy", parameter="_lastUpdated")
    assert not server.declares("ImagingStudy", parameter="started")
    assert not server.declares("ImagingStudy", interaction="read")
    assert not server.declares("Endpoint", interaction="read", parameter="patient")
    assert not server.declares("ExplanationOfBenefit")


def test_what_is_not_listed_is_not_offered_unless_nothing_is_listed() -> None:
    listing = capability(rest=[{"resource": RESOURCES}])
    assert (listing.offers("Endpoint"), listing.offers("Patient")) == (True, False)
    assert capability(rest=[{"mode": "server"}]).offers("Patient")
    assert capability().offers("Patient")


def test_what_the_server_would_do_as_a_client_does_not_count() -> None:
    assert not capability(rest=[{"mode": "client", "resource": RESOURCES}]).declares("ImagingStudy")


@pytest.mark.parametrize("rest", [None, {}, "x", [None], [{"resource": None}], [{"resource": [None, 5, {"type": []}]}]])
def test_a_broken_statement_declares_nothing(rest: object) -> None:
    assert not capability(rest=rest).declares("ImagingStudy", parameter="patient")


def test_broken_parts_of_a_resource_count_as_not_declared() -> None:
    broken: dict[str, Any] = {
        "type": "Endpoint",
        "interaction": [{"code": {}}, None],
        "searchParam": {"name": "identifier"},
    }
    server = capability(rest={"resource": broken})
    assert not server.declares("Endpoint", interaction="read")
    assert server.declares("Endpoint", parameter="identifier")


@pytest.mark.parametrize(
    ("software", "text"),
    [({"name": "HAPI", "version": "5.1"}, "HAPI 5.1"), ({"name": "HAPI"}, "HAPI"), (None, ""), ("x", ""), ({}, "")],
)
def test_the_software_is_named(software: object, text: str) -> None:
    assert capability(software=software).software == text


@pytest.mark.parametrize(
    ("path", "version", "images", "claims"),
    [
        ("r4/smart-launcher-hapi/CapabilityStatement.json", "r4", True, True),
        ("stu3/cms-bb2-webserver/fhir_meta_v1.json", "stu3", False, True),
        ("stu3/cms-ab2d-pages/meta.json", "stu3", False, True),
    ],
)
def test_real_statements_are_read(path: str, version: str, images: bool, claims: bool, test_data: Path) -> None:
    server = Capability.from_json(json.loads((test_data / "fhir" / path).read_text()))
    assert server.fhir_version == version
    assert server.declares("ImagingStudy", interaction="search-type", parameter="patient") is images
    assert server.offers("ExplanationOfBenefit") is claims
    assert len(repr(server)) < 200
