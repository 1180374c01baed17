"""A server of the tests' own, a connection to it that needs no launch, and a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from s4s_lab import Dataset, open_dataset
from s4s_lab.connection import Connection
from s4s_lab.fhir import Capability
from s4s_lab.smart import Grant, MemoryGrants, SmartConfiguration
from s4s_lab.values import S4S_SCOPE, Registration, Secret
from s4s_lab.values.instants import utc_now
from tests.wire.sync.server import FhirServer, serving

TYPES = ("ImagingStudy",)
OFFERED = ("ImagingStudy", "Patient", "ExplanationOfBenefit")


@pytest.fixture
def server() -> Iterator[FhirServer]:
    """An empty, truthful server."""
    with serving(FhirServer()) as running:
        yield running


def connection(fhir_url: str, patient_id: str = "p1") -> Connection:
    """Give a connection as a launch would, with a grant for an hour."""
    statement = {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "3.0.1",
        "rest": [{"mode": "server", "resource": [{"type": name} for name in OFFERED]}],
    }
    configuration = SmartConfiguration(
        fhir_url=fhir_url,
        authorization_endpoint=f"{fhir_url}/authorize",
        token_endpoint=f"{fhir_url}/token",
        source="metadata",
        capability_statement=statement,
    )
    grant = Grant(Secret("token"), None, S4S_SCOPE, patient_id, utc_now() + timedelta(hours=1), 1)
    return Connection(
        fhir_url=fhir_url,
        patient_id=patient_id,
        capability=Capability.from_json(statement),
        configuration=configuration,
        registration=Registration("app", Secret("secret")),
        grants=MemoryGrants(grant),
    )


def granting(link: Connection, scope: str) -> Connection:
    """Return the same connection after a consent to other scopes."""
    return replace(link, grants=MemoryGrants(replace(link.grants.read(), scope=scope)))


@pytest.fixture
def link(server: FhirServer) -> Connection:
    return connection(server.url)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return open_dataset(tmp_path / "data")
