"""The authorization endpoint: what it refuses, where it sends the browser, what comes back."""

from __future__ import annotations

import string

import httpx2
import pytest

from s4s_lab.sandbox.browser import answer_consent
from tests.sandbox.app import App, query_of


def opened(app: App, **changes: str | None) -> httpx2.Response:
    return app.http.get(app.authorize_url(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None},
        {"client_id": "no-such-app"},
        {"redirect_uri": None},
        {"redirect_uri": "http://127.0.0.1:8723/other"},
        {"redirect_uri": "http://127.0.0.1:8724/callback"},
        {"redirect_uri": "http://127.0.0.1:8723/callback/"},
        {"redirect_uri": "https://evil.example/callback"},
        {"aud": "https://another.example/fhir"},
    ],
)
def test_what_may_be_an_attack_ends_on_an_error_page_and_goes_nowhere(app: App, changes: dict[str, str | None]) -> None:
    answered = opened(app, **changes)
    assert answered.status_code == 400
    assert "location" not in answered.headers
    assert answered.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"state": None}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "patient/*.write user/*.read"}, "invalid_scope"),
        ({"aud": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "too-short"}, "invalid_request"),
    ],
)
def test_other_faults_are_told_to_the_app(app: App, changes: dict[str, str | None], error: str) -> None:
    answered = opened(app, **changes)
    assert answered.status_code == 302
    location = answered.headers["location"]
    assert location.startswith(app.server.registration.redirect_uri + "?")
    told = query_of(location)
    assert told["error"] == error
    assert told["error_description"]
    assert told["iss"] == app.server.fhir_url
    assert told.get("state") == ("a-state-of-the-app" if "state" not in changes else None)


@pytest.mark.parametrize("name", ["scope", "state", "client_id", "redirect_uri"])
def test_a_parameter_that_comes_twice_is_refused(app: App, name: str) -> None:
    answered = app.http.get(app.authorize_url() + f"&{name}=" + app.asked()[name])
    assert answered.status_code == (400 if name in ("client_id", "redirect_uri") else 302)
    if answered.status_code == 302:
        assert query_of(answered.headers["location"])["error"] == "invalid_request"


@pytest.mark.clause("S4S-3", "S4S-4")
def test_approval_sends_the_browser_back_with_code_state_and_issuer(app: App) -> None:
    told = app.answer()
    assert set(told) == {"code", "state", "iss"}
    assert told["state"] == "a-state-of-the-app"
    assert told["iss"] == app.server.fhir_url
    assert len(told["code"]) >= 32


@pytest.mark.parametrize(
    "state", ["0123456789" * 43, string.punctuation + "%2B+ %20é", "a" * 4000], ids=["430", "punctuation", "4000"]
)
def test_state_comes_back_unchanged(app: App, state: str) -> None:
    assert app.answer(state=state)["state"] == state


def test_denial_is_told_once(app: App) -> None:
    url = answer_consent(app.authorize_url(), {"decision": "deny"})
    assert url.count("error=access_denied") == 1
    told = query_of(url)
    assert told["error"] == "access_denied"
    assert told["state"] == "a-state-of-the-app"
    assert "code" not in told


def test_an_app_may_mean_the_server_with_a_slash_at_the_end(app: App) -> None:
    assert "code" in app.answer(aud=app.server.fhir_url + "/")


def test_what_cannot_be_granted_is_left_out_and_the_app_is_told(app: App) -> None:
    tokens = app.tokens(scope="launch/patient patient/ImagingStudy.cruds profile patient/Coverage.write")
    assert tokens["scope"] == "launch/patient patient/ImagingStudy.rs"
    assert "refresh_token" not in tokens


def test_the_patient_is_named_only_to_who_asked_for_it(app: App) -> None:
    assert "patient" not in app.tokens(scope="patient/*.read")
    assert app.tokens()["patient"] == app.server.participants[0].patient_id


def test_a_redirect_uri_with_a_query_keeps_it(app: App) -> None:
    uri = "http://127.0.0.1:9/back?session=7"
    registered = app.http.post(f"{app.root}/oauth/register", json={"redirect_uris": [uri]}).json()
    url = answer_consent(app.authorize_url(client_id=registered["client_id"], redirect_uri=uri), {"decision": "deny"})
    assert url.startswith(uri + "&error=access_denied&")
