"""Clients with a key at the server: how they register, and assertions right and wrong, signed by another library."""

from __future__ import annotations

import time
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from s4s_lab.sandbox.browser import answer_consent
from tests.sandbox.app import App, query_of

REDIRECT = "https://app.example/back"
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KEYS: dict[str, Any] = {
    "RS384": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ES384": ECKey.generate_key("P-384", {"kid": "ec"}),
}


def _public(*keys: Any) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


def _register(app: App, jwks: object) -> httpx2.Response:
    metadata = {"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks}
    return app.http.post(f"{app.root}/oauth/register", json=metadata)


def _assertion(app: App, client_id: str, algorithm: str = "ES384", **changes: Any) -> str:
    now, key = int(time.time()), changes.pop("key", KEYS[algorithm])
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": f"{app.root}/oauth/token",
        "exp": now + 240,
        "jti": f"jti-{time.monotonic_ns()}",
    }
    wanted = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": key.kid}, wanted, key, algorithms=[algorithm])


def _introspected(app: App, assertion: str, **changes: str) -> httpx2.Response:
    """Introspection needs nothing but the client's authentication."""
    form = {"token": "whatever", "client_assertion_type": TYPE, "client_assertion": assertion} | changes
    return app.http.post(f"{app.root}/oauth/introspect", data=form)


@pytest.fixture
def client_id(app: App) -> str:
    return str(_register(app, _public(*KEYS.values())).json()["client_id"])


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_a_client_with_a_key_exchanges_its_code(app: App, client_id: str, algorithm: str) -> None:
    choice = {"decision": "approve", "participant": app.server.participants[0].patient_id}
    told = query_of(answer_consent(app.authorize_url(client_id=client_id, redirect_uri=REDIRECT), choice))
    form = {"grant_type": "authorization_code", "code": told["code"], "redirect_uri": REDIRECT}
    proof = {"client_assertion_type": TYPE, "client_assertion": _assertion(app, client_id, algorithm)}
    answered = app.http.post(f"{app.root}/oauth/token", data=form | proof | {"code_verifier": app.verifier})
    assert answered.status_code == 200, answered.text
    assert "refresh_token" in answered.json()


def test_an_assertion_is_good_once(app: App, client_id: str) -> None:
    assertion = _assertion(app, client_id)
    assert _introspected(app, assertion).json() == {"active": False}
    again = _introspected(app, assertion)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert "used before" in again.json()["error_description"]


@pytest.mark.parametrize(
    "changes",
    [
        {"key": ECKey.generate_key("P-384", {"kid": "ec"})},
        {"key": ECKey.generate_key("P-384", {"kid": "unknown"})},
        {"sub": "somebody"},
        {"iss": "somebody"},
        {"aud": "https://other.example/token"},
        {"aud": None},
        {"exp": int(time.time()) - 60},
        {"exp": int(time.time()) + 3600},
        {"exp": None},
        {"jti": None},
    ],
    ids=lambda changes: str(next(iter(changes.items()))),
)
def test_one_wrong_part_is_enough(app: App, client_id: str, changes: dict[str, Any]) -> None:
    answered = _introspected(app, _assertion(app, client_id, **changes))
    assert (answered.status_code, answered.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("assertion", ["", "a.b", "a.b.c", "e30.e30.", "e30.W10.e30"])
def test_what_is_no_assertion_is_refused(app: App, assertion: str) -> None:
    answered = _introspected(app, assertion)
    assert (answered.status_code, answered.json()["error"]) == (401, "invalid_client")


def test_the_type_has_to_be_named(app: App, client_id: str) -> None:
    answered = _introspected(app, _assertion(app, client_id), client_assertion_type="jwt")
    assert answered.status_code == 401


def test_one_way_of_authentication_is_enough(app: App, client_id: str) -> None:
    both = _introspected(app, _assertion(app, client_id), client_secret="s")
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")


def test_a_client_with_a_key_is_not_believed_by_its_name(app: App, client_id: str) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": client_id}
    assert app.http.post(f"{app.root}/oauth/token", data=form).status_code == 401


@pytest.mark.parametrize(
    "jwks",
    [
        None,
        {},
        {"keys": []},
        {"keys": [{}]},
        {"keys": ["x"]},
        {"keys": [KEYS["ES384"].as_dict(private=True)]},
        _public(ECKey.generate_key("P-256", {"kid": "small"})),
        {"keys": [{**KEYS["ES384"].as_dict(private=False), "x": "AAAA"}]},
        {"keys": [{**KEYS["ES384"].as_dict(private=False), "x": 7}]},
        {"keys": [{**KEYS["RS384"].as_dict(private=False), "n": "AQAB"}]},
        {"keys": [{"kty": "oct", "k": "AAAA", "kid": "shared"}]},
    ],
    ids=range(11),
)
def test_keys_that_prove_nothing_are_not_registered(app: App, jwks: object) -> None:
    answered = _register(app, jwks)
    assert (answered.status_code, answered.json()["error"]) == (400, "invalid_client_metadata")
