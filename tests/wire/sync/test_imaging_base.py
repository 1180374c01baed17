"""A server without images may name its imaging department's: studies are asked for there, with the same token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from s4s_lab import Dataset, pull
from s4s_lab.connection import Connection
from s4s_lab.fhir import Capability
from tests.wire.sync.conftest import connection
from tests.wire.sync.server import FhirServer, serving
from tests.wire.sync.test_endpoints import endpoint, referring, rows
from tests.wire.sync.test_pull import only


@pytest.fixture
def department() -> Iterator[FhirServer]:
    """The FHIR server of an imaging department."""
    with serving(FhirServer()) as running:
        yield running


@pytest.fixture
def shared(server: FhirServer, department: FhirServer) -> Connection:
    """A connection to a server that declares no ImagingStudy, and names the department."""
    link = connection(server.url)
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": "3.0.1", "rest": [{"mode": "server"}]}
    statement["rest"][0]["resource"] = [{"type": "Patient"}, {"type": "ExplanationOfBenefit"}]  # type: ignore[index]  # a list of objects
    configuration = replace(
        link.configuration,
        imaging_endpoints=(department.url,),
        associated_origins=frozenset({department.url.removesuffix("/fhir")}),
    )
    return replace(link, capability=Capability.from_json(statement), configuration=configuration)


def test_studies_and_their_endpoints_come_from_the_department(
    server: FhirServer, department: FhirServer, shared: Connection, data: Dataset
) -> None:
    department.put(referring(1, "Endpoint/e1"), endpoint("e1"))
    result = only(pull(shared, data, types=("ImagingStudy",)))
    assert (result.outcome, result.new) == ("done", 1)
    assert rows(data) == {"e1": "https://pacs.example/e1"}
    assert server.asked("ImagingStudy") + server.asked("Endpoint") == []
    assert data.table("imaging_study")["source"].tolist() == [server.url]


def test_everything_else_is_asked_of_the_server_itself(
    server: FhirServer, department: FhirServer, shared: Connection, data: Dataset
) -> None:
    report = pull(shared, data, types=("ImagingStudy", "ExplanationOfBenefit", "Coverage"))
    assert [item.outcome for item in report.types] == ["done", "done", "skipped"]
    assert department.asked("ExplanationOfBenefit") == []
    assert server.asked("ExplanationOfBenefit") != []


def test_a_department_named_later_begins_with_a_first_pull_and_lacks_nothing(
    server: FhirServer, department: FhirServer, shared: Connection, data: Dataset
) -> None:
    server.put(referring(1))
    own = connection(server.url)
    pull(own, data, types=("ImagingStudy",))
    department.put(referring(2))
    result = only(pull(shared, data, types=("ImagingStudy",)))
    assert (result.mode, result.new) == ("first", 1)
    assert "ImagingStudy" not in shared.lacks
    alone = replace(shared, configuration=replace(shared.configuration, imaging_endpoints=()))
    assert "ImagingStudy" in alone.lacks
    assert only(pull(alone, data, types=("ImagingStudy",))).outcome == "skipped"
