"""Any request at all: an answer in the server's own words, never a failure."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s4s_lab import sandbox
from s4s_lab.sandbox.browser import answer_consent
from s4s_lab.sandbox.media import judge_dicom, parse_accept, takes_fhir_json

MANY = 2000 if os.environ.get("S4S_FULL") == "1" else 150
over_the_wire = settings(max_examples=MANY, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TYPES = ("ImagingStudy", "ExplanationOfBenefit", "Coverage", "DiagnosticReport", "Patient", "Endpoint", "Observation")
NAMES = (
    "patient",
    "beneficiary",
    "subject",
    "_id",
    "identifier",
    "_lastUpdated",
    "_count",
    "_include",
    "_summary",
    "_page",
    "_format",
)
VERIFIER = "a-verifier-of-more-than-forty-three-characters"
texts = st.text(st.characters(codec="utf-8"), max_size=40)
likely = st.one_of(
    texts, st.sampled_from(("gt2022", "Patient/x", "|", ",", "0", "-1", "count", "ImagingStudy:endpoint", "\0"))
)


@pytest.fixture(scope="module")
def server() -> Iterator[sandbox.Sandbox]:
    with sandbox.start(retrieve_s=0) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: sandbox.Sandbox) -> Iterator[httpx2.Client]:
    """A client with a token of the first participant."""
    with httpx2.Client(trust_env=False, timeout=30) as client:
        choice = {"decision": "approve", "participant": server.participants[0].patient_id}
        code = dict(parse_qsl(urlsplit(answer_consent(authorize_url(server, "s"), choice)).query))["code"]
        registration = server.registration
        assert registration.client_secret is not None
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": registration.redirect_uri}
        auth = (registration.client_id, registration.client_secret.reveal())
        root = server.fhir_url.removesuffix("/fhir")
        tokens = client.post(f"{root}/oauth/token", data=form | {"code_verifier": VERIFIER}, auth=auth).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield client


def authorize_url(server: sandbox.Sandbox, state: str) -> str:
    registration = server.registration
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": registration.client_id,
        "redirect_uri": registration.redirect_uri,
        "scope": registration.scope,
        "state": state,
        "aud": server.fhir_url,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    return f"{server.fhir_url.removesuffix('/fhir')}/oauth/authorize?" + urlencode(asked)


@over_the_wire
@given(
    kind=st.sampled_from(TYPES), pairs=st.lists(st.tuples(st.one_of(st.sampled_from(NAMES), texts), likely), max_size=5)
)
def test_any_query_is_answered_with_a_bundle_or_an_outcome(
    server: sandbox.Sandbox, http: httpx2.Client, kind: str, pairs: list[tuple[str, str]]
) -> None:
    answered = http.get(f"{server.fhir_url}/{kind}?{urlencode(pairs)}")
    assert answered.status_code in (200, 400, 403, 404, 406, 410), answered.text
    assert answered.headers["content-type"] == "application/fhir+json"
    assert answered.json()["resourceType"] == ("Bundle" if answered.status_code == 200 else "OperationOutcome")


@over_the_wire
@given(raw=st.binary(min_size=1, max_size=60))
def test_any_bytes_in_a_query_or_path_are_answered(server: sandbox.Sandbox, http: httpx2.Client, raw: bytes) -> None:
    encoded = quote(raw, safe="")
    for url in (
        f"{server.fhir_url}/ImagingStudy?{encoded}",
        f"{server.fhir_url}/Patient/{encoded}",
        f"{server.wado_url}/studies/{encoded}",
    ):
        assert http.get(url).status_code < 500


@settings(over_the_wire, max_examples=40)
@given(state=st.text(st.characters(codec="utf-8"), min_size=1, max_size=500))
def test_any_state_comes_back_unchanged(server: sandbox.Sandbox, state: str) -> None:
    told = dict(parse_qsl(urlsplit(answer_consent(authorize_url(server, state), {"decision": "deny"})).query))
    assert told["state"] == state


@given(st.text())
def test_any_accept_header_can_be_judged(text: str) -> None:
    assert all(0 <= one.quality <= 1 for one in parse_accept(text))
    assert takes_fhir_json(text, None) in (True, False)
    refused = judge_dicom(text, ["1.2.840.10008.1.2.1"])
    assert refused is None or refused.endswith(".")


@given(
    kind=st.sampled_from(("application/dicom", "application/octet-stream")),
    syntax=st.sampled_from(("", "*", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70")),
    quoted=st.booleans(),
    spaced=st.booleans(),
    turned=st.booleans(),
)
def test_spelling_does_not_change_what_is_asked(
    kind: str, syntax: str, quoted: bool, spaced: bool, turned: bool
) -> None:
    parameters = [f'type="{kind}"' if quoted else f"type={kind}"] + ([f"transfer-syntax={syntax}"] if syntax else [])
    separator = " ; " if spaced else ";"
    header = separator.join(["Multipart/Related", *(reversed(parameters) if turned else parameters)])
    takeable = kind == "application/dicom" and syntax in ("", "*", "1.2.840.10008.1.2.1")
    assert (judge_dicom(header, ["1.2.840.10008.1.2.1"]) is None) == takeable
