"""Connections: what they say of themselves without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from s4s_lab.connection import Connection
from s4s_lab.fhir import Capability
from s4s_lab.smart import Grant, MemoryGrants, SmartConfiguration
from s4s_lab.values import Registration, Secret


def _connection(*, fhir_version: str | None = None, seconds_left: float = 90.0) -> Connection:
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": fhir_version}
    ending = datetime.now(UTC) + timedelta(seconds=seconds_left)
    return Connection(
        fhir_url="https://ehr.example/fhir",
        patient_id="p",
        capability=Capability.from_json(statement),
        configuration=SmartConfiguration("https://ehr.example/fhir", "https://ehr.example/a", "https://ehr.example/t"),
        registration=Registration("app", Secret("s")),
        grants=MemoryGrants(Grant(Secret("a"), None, "patient/*.read", "p", ending, 1)),
    )


@pytest.mark.parametrize(("text", "version"), [("3.0.1", "stu3"), ("4.0.1", "r4"), (None, "stu3"), ("5.0.0", "stu3")])
def test_a_server_that_does_not_say_counts_as_stu3(text: str | None, version: str) -> None:
    assert _connection(fhir_version=text).fhir_version == version


@pytest.mark.parametrize(("seconds_left", "minutes"), [(90.0, 2), (3599.5, 60), (-5.0, 0)])
def test_minutes_are_rounded_up(seconds_left: float, minutes: int) -> None:
    assert _connection(seconds_left=seconds_left).minutes_left == minutes


def test_what_was_not_granted_is_told_by_effect() -> None:
    assert _connection().not_granted == ["offline_access"]


def test_another_machine_is_shown_with_its_whole_address() -> None:
    assert repr(_connection()).startswith("Connection(server=https://ehr.example/fhir, patient=p, ")
