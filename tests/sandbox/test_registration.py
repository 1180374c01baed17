"""Dynamic registration, and what confidential and public clients may do."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from s4s_lab.sandbox.browser import answer_consent
from tests.sandbox.app import App, query_of

REDIRECT = "https://app.example/back"


def register(app: App, metadata: object) -> httpx2.Response:
    return app.http.post(f"{app.root}/oauth/register", json=metadata)


def test_an_app_registers_itself_and_can_launch(app: App) -> None:
    answered = register(app, {"client_name": "My study", "redirect_uris": [REDIRECT], "scope": "patient/*.read"})
    assert answered.status_code == 201
    assert answered.headers["cache-control"] == "no-store"
    registered = answered.json()
    assert registered["client_name"] == "My study"
    assert registered["redirect_uris"] == [REDIRECT]
    assert registered["client_secret_expires_at"] == 0
    assert registered["token_endpoint_auth_method"] == "client_secret_basic"
    credentials = (registered["client_id"], registered["client_secret"])
    told = app.answer("approve", 0, client_id=credentials[0], redirect_uri=REDIRECT)
    form: dict[str, str | None] = {"grant_type": "authorization_code", "code": told["code"], "redirect_uri": REDIRECT}
    assert app.token(form | {"code_verifier": app.verifier}, auth=credentials).status_code == 200


@pytest.mark.parametrize(
    "uris",
    [
        None,
        [],
        "https://app.example/back",
        ["https://app.example/back#part"],
        ["http://app.example/back"],
        ["http://127.0.0.1.evil.example/back"],
        ["http://127.0.0.1@evil.example/back"],
        ["javascript:alert(1)"],
        ["data:text/html,hello"],
        ["/back"],
        ["https://"],
        ["https://app.example/ä"],
        ["https://app.example/back\r\nX: y"],
        ["http://127.0.0.1:port/back"],
        [7],
        [REDIRECT, "ftp://app.example/back"],
    ],
    ids=str,
)
def test_a_redirect_uri_that_is_not_safe_is_refused(app: App, uris: object) -> None:
    answered = register(app, {"client_name": "x", "redirect_uris": uris})
    assert answered.status_code == 400
    assert answered.json()["error"] == "invalid_redirect_uri"


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:8723/callback", "http://[::1]/callback", "http://localhost:1/x", "org.example.app:/back"]
)
def test_loopback_and_private_use_addresses_may_be_registered(app: App, uri: str) -> None:
    assert register(app, {"redirect_uris": [uri]}).status_code == 201


@pytest.mark.parametrize(
    "change",
    [
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"scope": "patient/*.write"},
        {"scope": 7},
        {"client_name": ["x"]},
    ],
    ids=str,
)
def test_other_metadata_that_cannot_be_is_refused(app: App, change: dict[str, Any]) -> None:
    answered = register(app, {"redirect_uris": [REDIRECT]} | change)
    assert answered.status_code == 400
    assert answered.json()["error"] == "invalid_client_metadata"


@pytest.mark.parametrize("body", [b"", b"[]", b"not json", b"\xff", b"7"])
def test_a_registration_is_a_json_object(app: App, body: bytes) -> None:
    answered = app.http.post(f"{app.root}/oauth/register", content=body)
    assert answered.status_code == 400
    assert answered.json()["error"] == "invalid_client_metadata"


def public(app: App, uri: str) -> str:
    answered = register(app, {"redirect_uris": [uri], "token_endpoint_auth_method": "none"}).json()
    assert "client_secret" not in answered
    return str(answered["client_id"])


@pytest.mark.clause("S4S-16")
def test_a_public_client_proves_itself_by_pkce_on_any_loopback_port(app: App) -> None:
    client_id, used = public(app, "http://127.0.0.1/callback"), "http://127.0.0.1:43210/callback"
    told = app.answer("approve", 0, client_id=client_id, redirect_uri=used)
    form = {"grant_type": "authorization_code", "code": told["code"], "redirect_uri": used, "client_id": client_id}
    answered = app.http.post(f"{app.root}/oauth/token", data=form | {"code_verifier": app.verifier})
    assert answered.status_code == 200
    refresh = {"grant_type": "refresh_token", "refresh_token": answered.json()["refresh_token"], "client_id": client_id}
    assert app.http.post(f"{app.root}/oauth/token", data=refresh).status_code == 200


def test_a_public_client_without_pkce_is_refused(app: App) -> None:
    client_id = public(app, REDIRECT)
    url = app.authorize_url(client_id=client_id, redirect_uri=REDIRECT, code_challenge=None, code_challenge_method=None)
    assert query_of(answer_consent(url, {"decision": "deny"}))["error"] == "invalid_request"


@pytest.mark.parametrize(
    "used",
    ["http://127.0.0.1:43210/other", "http://localhost:43210/callback", "http://127.0.0.1:43210/callback?x=1"],
)
def test_only_the_port_is_free_for_public_clients(app: App, used: str) -> None:
    client_id = public(app, "http://127.0.0.1/callback")
    assert app.http.get(app.authorize_url(client_id=client_id, redirect_uri=used)).status_code == 400


def test_any_port_is_for_loopback_addresses_only(app: App) -> None:
    client_id = public(app, REDIRECT)
    used = "https://app.example:8443/back"
    assert app.http.get(app.authorize_url(client_id=client_id, redirect_uri=used)).status_code == 400
