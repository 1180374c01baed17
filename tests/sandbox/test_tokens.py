"""The token endpoint: codes, client authentication, refresh, revocation, introspection."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.sandbox.app import App


def error_of(answered: httpx2.Response, status: int = 400) -> str:
    """The OAuth error of an answer, which must be formed as RFC 6749, section 5.2 wants it."""
    assert answered.status_code == status, answered.text
    assert answered.headers["content-type"] == "application/json"
    assert answered.headers["cache-control"] == "no-store"
    told = answered.json()
    assert set(told) == {"error", "error_description"}
    return str(told["error"])


@pytest.mark.clause("S4S-2", "S4S-4")
def test_a_code_is_exchanged_for_tokens_and_the_patient(app: App) -> None:
    answered = app.exchange(app.answer()["code"])
    assert answered.status_code == 200
    assert answered.headers["cache-control"] == "no-store"
    assert answered.headers["pragma"] == "no-cache"
    tokens = answered.json()
    assert set(tokens) == {"access_token", "token_type", "expires_in", "scope", "patient", "refresh_token"}
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 3600
    assert set(tokens["scope"].split()) == {"patient/*.read", "launch/patient", "offline_access"}
    assert tokens["patient"] == app.server.participants[0].patient_id


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"code": None}, "invalid_request"),
        ({"code": ""}, "invalid_request"),
        ({"code": "not-a-code"}, "invalid_grant"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:8723/other"}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_grant"),
        ({"code_verifier": "wrong-verifier-wrong-verifier-wrong-verifier-12"}, "invalid_grant"),
    ],
)
def test_a_wrong_exchange_gives_nothing(app: App, changes: dict[str, str | None], error: str) -> None:
    code = app.answer()["code"]
    form: dict[str, str | None] = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": app.server.registration.redirect_uri,
        "code_verifier": app.verifier,
    }
    assert error_of(app.token(form | changes)) == error


def test_the_challenge_is_no_verifier(app: App) -> None:
    code = app.answer()["code"]
    assert error_of(app.exchange(code, code_verifier=app.asked()["code_challenge"])) == "invalid_grant"


def test_a_verifier_without_a_challenge_is_refused(app: App) -> None:
    plain: dict[str, str | None] = {"code_challenge": None, "code_challenge_method": None}
    assert error_of(app.exchange(app.answer("approve", 0, **plain)["code"])) == "invalid_grant"
    assert app.exchange(app.answer("approve", 0, **plain)["code"], code_verifier=None).status_code == 200


def test_a_code_used_twice_ends_what_was_issued_for_it(app: App) -> None:
    code = app.answer()["code"]
    tokens = app.exchange(code).json()
    assert error_of(app.exchange(code)) == "invalid_grant"
    assert error_of(app.refresh(tokens["refresh_token"])) == "invalid_grant"


def test_of_many_exchanges_at_once_one_wins(app: App) -> None:
    code = app.answer()["code"]
    with ThreadPoolExecutor(8) as pool:
        statuses = [one.status_code for one in pool.map(lambda _: app.exchange(code), range(8))]
    assert sorted(statuses) == [200] + [400] * 7


def test_a_code_failed_once_is_lost(app: App) -> None:
    code = app.answer()["code"]
    assert app.exchange(code, code_verifier="x" * 43).status_code == 400
    assert error_of(app.exchange(code)) == "invalid_grant"


def test_the_token_endpoint_takes_post_only(app: App) -> None:
    answered = app.http.get(f"{app.root}/oauth/token", params={"grant_type": "authorization_code"})
    assert answered.status_code == 405
    assert answered.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "body", [b"grant_type=authorization_code&grant_type=refresh_token", b"\xff\xfe=1", b"a=1&" * 300]
)
def test_a_form_that_cannot_be_read_is_refused(app: App, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answered = app.http.post(f"{app.root}/oauth/token", content=body, headers=headers, auth=app.credentials)
    assert error_of(answered) == "invalid_request"


def test_a_field_that_comes_twice_is_refused_even_when_both_say_the_same(app: App) -> None:
    token = app.tokens()["refresh_token"]
    body = f"grant_type=refresh_token&refresh_token={token}&refresh_token={token}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answered = app.http.post(f"{app.root}/oauth/token", content=body, headers=headers, auth=app.credentials)
    assert error_of(answered) == "invalid_request"
    assert app.refresh(token).status_code == 200


def test_json_is_no_form(app: App) -> None:
    answered = app.http.post(f"{app.root}/oauth/token", json={"grant_type": "refresh_token"}, auth=app.credentials)
    assert error_of(answered) == "invalid_request"


@pytest.mark.clause("S4S-2")
@pytest.mark.parametrize("secret", ["wrong", "", "sécret"])
def test_a_wrong_secret_is_refused(app: App, secret: str) -> None:
    answered = app.token({"grant_type": "refresh_token", "refresh_token": "x"}, auth=(app.credentials[0], secret))
    assert error_of(answered, 401) == "invalid_client"
    assert answered.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic eA==", "Bearer abc", "Basic " + "4" * 41])
def test_an_authorization_header_that_cannot_be_read_is_refused(app: App, header: str) -> None:
    answered = app.http.post(f"{app.root}/oauth/token", data={"grant_type": "x"}, headers={"Authorization": header})
    assert error_of(answered, 401) == "invalid_client"


def test_the_secret_may_come_in_the_body_but_not_in_both_places(app: App) -> None:
    client_id, secret = app.credentials
    tokens = app.tokens()
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    body = form | {"client_id": client_id, "client_secret": secret}
    assert error_of(app.http.post(f"{app.root}/oauth/token", data=body, auth=app.credentials)) == "invalid_request"
    assert app.http.post(f"{app.root}/oauth/token", data=body).status_code == 200


def test_basic_credentials_are_form_urlencoded_inside(app: App) -> None:
    client_id, secret = app.credentials
    encoded = base64.b64encode(f"{quote(client_id.replace('-', '%2D'), safe='%')}:{secret}".encode()).decode()
    form = {"grant_type": "refresh_token", "refresh_token": app.tokens()["refresh_token"]}
    answered = app.http.post(f"{app.root}/oauth/token", data=form, headers={"Authorization": f"Basic {encoded}"})
    assert answered.status_code == 200


def test_a_confidential_client_cannot_do_without_its_secret(app: App) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": app.tokens()["refresh_token"]}
    answered = app.http.post(f"{app.root}/oauth/token", data=form | {"client_id": app.credentials[0]})
    assert error_of(answered, 401) == "invalid_client"


def test_refresh_gives_new_tokens_for_the_same_patient(app: App) -> None:
    tokens = app.tokens(participant=2)
    renewed = app.refresh(tokens["refresh_token"]).json()
    assert renewed["patient"] == tokens["patient"] == app.server.participants[2].patient_id
    assert renewed["scope"] == tokens["scope"]
    assert renewed["expires_in"] == 3600
    assert renewed["access_token"] != tokens["access_token"]
    assert renewed["refresh_token"] != tokens["refresh_token"]
    assert app.refresh(renewed["refresh_token"]).status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"refresh_token": None}, "invalid_request"),
        ({"refresh_token": "not-a-token"}, "invalid_grant"),
        ({"scope": "patient/*.read user/*.read"}, "invalid_scope"),
    ],
)
def test_a_wrong_refresh_gives_nothing(app: App, changes: dict[str, str | None], error: str) -> None:
    form: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": app.tokens()["refresh_token"]}
    assert error_of(app.token(form | changes)) == error


def test_an_access_token_does_not_refresh(app: App) -> None:
    assert error_of(app.refresh(app.tokens()["access_token"])) == "invalid_grant"


def test_an_old_refresh_token_ends_the_whole_family(app: App) -> None:
    tokens = app.tokens()
    renewed = app.refresh(tokens["refresh_token"]).json()
    assert error_of(app.refresh(tokens["refresh_token"])) == "invalid_grant"
    assert error_of(app.refresh(renewed["refresh_token"])) == "invalid_grant"
    headers = {"Authorization": f"Bearer {renewed['access_token']}"}
    assert app.http.get(f"{app.server.fhir_url}/Patient", headers=headers).status_code == 401


def test_less_may_be_asked_at_refresh_and_all_of_it_the_next_time(app: App) -> None:
    tokens = app.tokens()
    less = app.refresh(tokens["refresh_token"], scope="patient/*.read").json()
    assert less["scope"] == "patient/*.read"
    assert app.refresh(less["refresh_token"]).json()["scope"] == tokens["scope"]


def other_client(app: App) -> tuple[str, str]:
    metadata = {"redirect_uris": [app.server.registration.redirect_uri], "client_name": "Another app"}
    registered = app.http.post(f"{app.root}/oauth/register", json=metadata).json()
    return registered["client_id"], registered["client_secret"]


def test_codes_and_tokens_are_good_only_for_the_client_they_were_issued_to(app: App) -> None:
    other, code, tokens = other_client(app), app.answer()["code"], app.tokens()
    redirect_uri = app.server.registration.redirect_uri
    form: dict[str, str | None] = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
    assert error_of(app.token(form | {"code_verifier": app.verifier}, auth=other)) == "invalid_grant"
    refresh: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert error_of(app.token(refresh, auth=other)) == "invalid_grant"
    assert app.exchange(code).status_code == 200
    assert app.refresh(tokens["refresh_token"]).status_code == 200


def revoke(app: App, token: str, auth: tuple[str, str]) -> int:
    return app.http.post(f"{app.root}/oauth/revoke", data={"token": token}, auth=auth).status_code


def can_read(app: App, tokens: dict[str, Any]) -> bool:
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    return app.http.get(f"{app.server.fhir_url}/Patient", headers=headers).status_code == 200


def test_a_revoked_refresh_token_ends_the_family_and_a_revoked_access_token_only_itself(app: App) -> None:
    tokens, others = app.tokens(), app.tokens()
    assert revoke(app, tokens["access_token"], app.credentials) == 200
    assert not can_read(app, tokens)
    renewed = app.refresh(tokens["refresh_token"]).json()
    assert can_read(app, renewed)
    assert revoke(app, renewed["refresh_token"], app.credentials) == 200
    assert not can_read(app, renewed)
    assert error_of(app.refresh(renewed["refresh_token"])) == "invalid_grant"
    assert can_read(app, others)


def test_revoking_what_is_unknown_or_foreign_changes_nothing(app: App) -> None:
    tokens = app.tokens()
    assert revoke(app, "not-a-token", app.credentials) == 200
    assert revoke(app, tokens["access_token"], other_client(app)) == 200
    assert can_read(app, tokens)
    assert revoke(app, tokens["access_token"], ("s4s-lab-demo", "wrong")) == 401


def introspected(app: App, token: str) -> dict[str, Any]:
    answered = app.http.post(f"{app.root}/oauth/introspect", data={"token": token}, auth=app.credentials)
    assert answered.headers["cache-control"] == "no-store"
    told: dict[str, Any] = answered.json()
    return told


def test_introspection_tells_what_a_token_is_good_for(app: App) -> None:
    tokens = app.tokens(participant=1)
    told = introspected(app, tokens["access_token"])
    assert told["active"] is True
    assert told["patient"] == app.server.participants[1].patient_id
    assert told["scope"] == tokens["scope"]
    assert told["client_id"] == app.credentials[0]
    assert told["exp"] - told["iat"] == 3600
    assert introspected(app, tokens["refresh_token"])["active"] is True
    app.refresh(tokens["refresh_token"])
    assert introspected(app, tokens["refresh_token"]) == {"active": False}
    assert introspected(app, "not-a-token") == {"active": False}


def test_introspection_is_for_clients_with_a_secret(app: App) -> None:
    form = {"token": app.tokens()["access_token"]}
    assert error_of(app.http.post(f"{app.root}/oauth/introspect", data=form), 401) == "invalid_client"
    metadata = {"redirect_uris": [app.server.registration.redirect_uri], "token_endpoint_auth_method": "none"}
    public = app.http.post(f"{app.root}/oauth/register", json=metadata).json()["client_id"]
    answered = app.http.post(f"{app.root}/oauth/introspect", data=form | {"client_id": public})
    assert error_of(answered, 401) == "invalid_client"
