"""The launch against the project's own reference server, which shares no code with the client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from s4s_lab import sandbox
from s4s_lab.connection import connect, prepare_launch, reopen
from s4s_lab.errors import LaunchRefused
from s4s_lab.net import Trace
from s4s_lab.sandbox import Sandbox
from s4s_lab.smart import MemoryGrants
from s4s_lab.values import Secret
from s4s_lab.widgets import launch


@pytest.fixture
def server(free_redirect_uri: str) -> Iterator[Sandbox]:
    with sandbox.start(redirect_uri=free_redirect_uri) as server:
        yield server


@pytest.mark.clause("S4S-1", "S4S-2", "S4S-3", "S4S-4")
def test_a_panel_is_approved_by_a_participant_who_was_picked(server: Sandbox) -> None:
    panel = launch(server.fhir_url, server.registration)
    server.approve(panel, participant=1)
    link = panel.wait(10)
    assert link.patient_id == server.participants[1].patient_id
    assert link.scope.split() == server.registration.scope.split()
    assert link.fhir_version == "stu3"
    assert repr(panel) == "LaunchPanel(server=http://127.0.0.1, status=connected)"
    panel.close()


def test_the_granted_token_reads_that_patient_and_no_other(server: Sandbox) -> None:
    link = connect(server.fhir_url, server.registration, show=server.approve, timeout_s=10)
    mine, other = (f"{link.fhir_url}/Patient/{one.patient_id}" for one in server.participants[:2])
    with link.client() as client:
        assert client.get(mine, accept="application/fhir+json").status == 200
        assert client.get(other, accept="application/fhir+json").status in (403, 404)


def test_a_denial_is_a_refusal(server: Sandbox) -> None:
    pending = prepare_launch(server.fhir_url, server.registration)
    server.deny(pending)
    with pytest.raises(LaunchRefused) as caught:
        pending.wait(10)
    assert caught.value.error == "access_denied"


def test_a_wrong_secret_is_a_refusal(server: Sandbox) -> None:
    pending = prepare_launch(server.fhir_url, replace(server.registration, client_secret=Secret("wrong")))
    server.approve(pending)
    with pytest.raises(LaunchRefused) as caught:
        pending.wait(10)
    assert caught.value.error == "invalid_client"


def test_a_client_registers_itself_and_is_launched(server: Sandbox, free_redirect_uri: str) -> None:
    link = connect(server.fhir_url, show=server.approve, timeout_s=10, redirect_uri=free_redirect_uri)
    assert link.registration.confidential
    assert link.registration.client_id != server.registration.client_id


def test_a_kept_grant_is_renewed_with_rotation(server: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "grants" / "one.json"
    link = connect(server.fhir_url, server.registration, show=server.approve, timeout_s=10, grants_file=file)
    first = link.grants.read()
    again = reopen(file)
    renewed = again.grants.renew(first.generation, again._renewed)
    assert renewed.refresh_token != first.refresh_token
    assert renewed.patient_id == link.patient_id
    with again.client() as client:
        url = f"{again.fhir_url}/Patient/{again.patient_id}"
        assert client.get(url, accept="application/fhir+json").status == 200


def test_a_trace_shows_the_renewal_and_neither_patient_nor_tokens(server: Sandbox, tmp_path: Path) -> None:
    link = connect(server.fhir_url, server.registration, show=server.approve, timeout_s=10)
    first, trace = link.grants.read(), Trace()
    stale = replace(first, access_token=Secret("stale-token-of-the-test"))
    stale_link = replace(link, grants=MemoryGrants(stale))
    with stale_link.client(trace=trace) as client:
        url = f"{link.fhir_url}/Patient/{link.patient_id}"
        assert client.get(url, accept="application/fhir+json").status == 200
    ended = [(exchange.method, exchange.url.rpartition("/")[0], exchange.status) for exchange in trace]
    assert [(method, status) for method, _, status in ended] == [("GET", 401), ("POST", 200), ("GET", 200)]
    assert [where for method, where, _ in ended if method == "GET"] == [f"{server.fhir_url}/Patient"] * 2
    now = stale_link.grants.read()
    text = f"{trace!r}{trace.save(tmp_path / 'trace.jsonl').read_text()}"
    assert "Bearer {hidden}" in text
    secrets = [grant.access_token.reveal() for grant in (first, stale, now)]
    assert [word for word in (link.patient_id, *secrets, server.registration.client_id) if word in text] == []
