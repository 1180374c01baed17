"""Launches that begin at the server, and its word on who signed in."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from s4s_lab.sandbox.browser import answer_consent
from tests.sandbox.app import App, query_of

SCOPE = "launch patient/*.read"


def _opened(app: App, participant: int) -> str:
    said = parse_qs(app.server.ehr_launch(participant).removeprefix("?"))
    assert said["iss"] == [app.server.fhir_url]
    return said["launch"][0]


@pytest.mark.clause("S4S-16")
def test_an_ehr_launch_is_about_the_patient_who_is_open(app: App) -> None:
    told = app.answer("approve", 1, launch=_opened(app, 1), scope=SCOPE)
    tokens = app.exchange(told["code"]).json()
    assert tokens["patient"] == app.server.participants[1].patient_id
    assert tokens["scope"] == SCOPE


def test_the_consent_page_of_an_ehr_launch_offers_nobody_else(app: App) -> None:
    page = app.http.get(app.authorize_url(launch=_opened(app, 1), scope=SCOPE)).text
    offered = [one.patient_id for one in app.server.participants if f'value="{one.patient_id}"' in page]
    assert offered == [app.server.participants[1].patient_id]


@pytest.mark.parametrize(
    "changes",
    [{"launch": "forged", "scope": SCOPE}, {"scope": SCOPE}, {"launch": "forged"}],
    ids=["forged", "no launch", "no scope"],
)
def test_a_launch_that_does_not_add_up_goes_back_as_an_error(app: App, changes: dict[str, str]) -> None:
    told = query_of(answer_consent(app.authorize_url(**changes), {"decision": "approve"}))
    assert (told["error"], "code" in told) == ("invalid_request", False)


@pytest.mark.clause("S4S-16")
def test_who_signed_in_is_signed_by_the_server(app: App) -> None:
    scope = "openid fhirUser launch/patient patient/*.read"
    tokens = app.tokens(scope=scope, nonce="n-1")
    document = app.http.get(f"{app.server.fhir_url}/.well-known/smart-configuration").json()
    keys = KeySet.import_key_set(app.http.get(document["jwks_uri"]).json())
    claims = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims
    assert (claims["iss"], claims["nonce"]) == (document["issuer"], "n-1")
    assert claims["aud"] == app.server.registration.client_id
    assert claims["fhirUser"] == f"{app.server.fhir_url}/Patient/{app.server.participants[0].patient_id}"
    assert 0 < claims["exp"] - claims["iat"] <= 3600


def test_nobody_is_named_unasked(app: App) -> None:
    assert "id_token" not in app.tokens()


def test_the_key_that_is_told_is_public(app: App) -> None:
    key = app.http.get(f"{app.root}/oauth/jwks").json()["keys"][0]
    assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
