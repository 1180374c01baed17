"""The sandbox as a client of other makers sees it: fhirclient launches, renews its grant and reads STU3 resources.

Its third major version has the models of STU3: they refuse what STU3 does not know, and miss what it requires.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fhirclient.client import FHIRClient
from fhirclient.models.explanationofbenefit import ExplanationOfBenefit
from fhirclient.models.imagingstudy import ImagingStudy

from s4s_lab import sandbox
from s4s_lab.sandbox.browser import answer_consent


@pytest.fixture(scope="module")
def server() -> Iterator[sandbox.Sandbox]:
    with sandbox.start() as server:
        yield server


def _client(server: sandbox.Sandbox) -> Any:
    registration = server.registration
    assert registration.client_secret is not None
    return FHIRClient(
        settings={
            "app_id": registration.client_id,
            "app_secret": registration.client_secret.reveal(),
            "api_base": server.fhir_url,
            "redirect_uri": registration.redirect_uri,
            "scope": "patient/*.read offline_access",  # it adds launch/patient itself
        }
    )


def _launched(server: sandbox.Sandbox, decision: str = "approve") -> Any:
    client = _client(server)
    choice = {"participant": server.participants[0].patient_id, "decision": decision}
    client.handle_callback(answer_consent(client.authorize_url, choice))
    return client


@pytest.mark.clause("S4S-1", "S4S-2", "S4S-3", "S4S-4")
def test_it_finds_its_way_by_the_capability_statement_and_learns_the_patient(server: sandbox.Sandbox) -> None:
    client = _launched(server)
    assert client.ready
    assert client.patient_id == server.participants[0].patient_id
    assert client.human_name(client.patient.name[0]) == server.participants[0].name
    assert client.server.auth.refresh_token


@pytest.mark.clause("S4S-6", "S4S-8", "S4S-15")
@pytest.mark.parametrize("model", [ImagingStudy, ExplanationOfBenefit])
def test_every_resource_is_one_of_stu3(server: sandbox.Sandbox, model: Any) -> None:
    client = _launched(server)
    found = model.where({"patient": client.patient_id}).perform_resources(client.server)
    total = client.server.request_json(f"{model.resource_type}?patient={client.patient_id}&_summary=count")["total"]
    assert len(found) == total > 0
    assert {one.patient.reference for one in found} == {f"Patient/{client.patient_id}"}


def test_a_renewed_grant_reads_and_the_token_before_it_is_another(server: sandbox.Sandbox) -> None:
    client = _launched(server)
    before = client.server.auth.access_token, client.server.auth.refresh_token
    client.reauthorize()
    assert client.server.auth.access_token != before[0]
    assert client.server.auth.refresh_token != before[1]
    assert ImagingStudy.where({"patient": client.patient_id}).perform(client.server).total > 0


def test_a_denial_and_a_wrong_token_are_errors_that_it_understands(server: sandbox.Sandbox) -> None:
    with pytest.raises(Exception, match=r"said no"):
        _launched(server, "deny")
    client = _launched(server)
    client.server.auth.access_token = "made up"
    with pytest.raises(Exception, match="401") as caught:
        client.server.request_json(f"Patient/{client.patient_id}")
    assert type(caught.value).__name__ == "FHIRUnauthorizedException"  # the package imports it under a name of its own
