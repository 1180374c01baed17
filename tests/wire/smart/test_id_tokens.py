"""ID tokens: one that is right in every part is believed, and no other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from s4s_lab.errors import LaunchRefused
from s4s_lab.net import HttpClient, Patience
from s4s_lab.smart import SmartConfiguration
from s4s_lab.smart.id_tokens import fhir_user_of
from s4s_lab.values import Secret
from tests.wire.smart.server import Canned, SmartServer

KEY = RSAKey.generate_key(2048, {"kid": "one"})
OTHER = RSAKey.generate_key(2048, {"kid": "one"})
CURVE = ECKey.generate_key("P-384", {"kid": "two"})
NONCE = Secret("nonce-of-this-launch")


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with HttpClient(patience=Patience(budget_s=0)) as client:
        yield client


def _configuration(server: SmartServer, **changes: Any) -> SmartConfiguration:
    given = {"issuer": server.origin, "jwks_uri": f"{server.origin}/keys"} | changes
    return SmartConfiguration(server.fhir_url, f"{server.origin}/a", f"{server.origin}/t", **given)


def _serve_keys(server: SmartServer, path: str = "/keys") -> None:
    keys = KeySet([KEY, CURVE]).as_dict(private=False)
    server.canned[path].append(Canned(200, json.dumps(keys).encode()))


def _token(server: SmartServer, key: Any = KEY, alg: str = "RS256", ends_in_s: float = 60, **changes: Any) -> Secret:
    claims: dict[str, Any] = {
        "iss": server.origin,
        "aud": "app",
        "sub": "p",
        "exp": time.time() + ends_in_s,
        "nonce": NONCE.reveal(),
        "fhirUser": "Patient/p",
    }
    wanted = {name: value for name, value in (claims | changes).items() if value is not None}
    return Secret(jwt.encode({"alg": alg, "kid": "two" if key is CURVE else "one"}, wanted, key, algorithms=[alg]))


def _judged(server: SmartServer, client: HttpClient, token: Secret) -> str | None:
    return fhir_user_of(client, _configuration(server), "app", token, NONCE)


@pytest.mark.parametrize(
    ("named", "expected"),
    [("Patient/p", "{fhir}/Patient/p"), ("https://ehr.example/fhir/Person/7", "https://ehr.example/fhir/Person/7")],
)
def test_who_signed_in_is_an_absolute_address(
    server: SmartServer, client: HttpClient, named: str, expected: str
) -> None:
    _serve_keys(server)
    assert _judged(server, client, _token(server, fhirUser=named)) == expected.format(fhir=server.fhir_url)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["app"]},
        {"aud": ["other", "app"], "azp": "app"},
        {"ends_in_s": -20},
        {"key": CURVE, "alg": "ES384"},
    ],
    ids=str,
)
def test_what_the_standard_allows_is_believed(server: SmartServer, client: HttpClient, changes: dict[str, Any]) -> None:
    _serve_keys(server)
    assert _judged(server, client, _token(server, **changes)) == f"{server.fhir_url}/Patient/p"


def test_a_token_that_names_nobody_is_none(server: SmartServer, client: HttpClient) -> None:
    _serve_keys(server)
    assert _judged(server, client, _token(server, fhirUser=None)) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": OTHER}, "signature"),
        ({"iss": "https://other.example"}, "another issuer"),
        ({"aud": "other"}, "another app"),
        ({"aud": ["app", "other"]}, "another app"),
        ({"aud": None}, "another app"),
        ({"ends_in_s": -3600}, "has ended"),
        ({"exp": None}, "has ended"),
        ({"nonce": "of another launch"}, "another launch"),
        ({"nonce": None}, "another launch"),
    ],
    ids=str,
)
def test_one_wrong_part_is_enough(server: SmartServer, client: HttpClient, changes: dict[str, Any], words: str) -> None:
    _serve_keys(server)
    with pytest.raises(LaunchRefused, match=words) as caught:
        _judged(server, client, _token(server, **changes))
    assert caught.value.error == "invalid_id_token"
    assert NONCE.reveal() not in str(caught.value)


def test_neither_none_nor_a_shared_key_signs(server: SmartServer, client: HttpClient) -> None:
    shared = OctKey.import_key(json.dumps(KEY.as_dict(private=False)).encode(), {"kid": "one"})
    hmac_signed = jwt.encode({"alg": "HS256", "kid": "one"}, {"iss": server.origin}, shared, algorithms=["HS256"])
    unsigned = "eyJhbGciOiJub25lIn0." + _token(server).reveal().split(".")[1] + "."
    for token in (hmac_signed, unsigned, "a.b.c", "", "a" * 5000):
        _serve_keys(server)
        with pytest.raises(LaunchRefused, match="signature"):
            _judged(server, client, Secret(token))


def test_a_key_that_all_can_read_signs_nothing_although_the_server_names_it(
    server: SmartServer, client: HttpClient
) -> None:
    shared = OctKey.import_key("a secret that stands in the server's public key set", {"kid": "one"})
    keys = {"keys": [shared.as_dict(private=True)]}
    server.canned["/keys"].append(Canned(200, json.dumps(keys).encode()))
    with pytest.raises(LaunchRefused, match="signature"):
        _judged(server, client, _token(server, key=shared, alg="HS256"))


def test_the_keys_are_found_by_the_issuer_where_smart_names_none(server: SmartServer, client: HttpClient) -> None:
    document = {"issuer": server.origin, "jwks_uri": f"{server.origin}/found-keys"}
    server.canned["/.well-known/openid-configuration"].append(Canned(200, json.dumps(document).encode()))
    _serve_keys(server, "/found-keys")
    found = fhir_user_of(client, _configuration(server, jwks_uri=None), "app", _token(server), NONCE)
    assert found == f"{server.fhir_url}/Patient/p"


@pytest.mark.parametrize(
    "answer", [Canned(404), Canned(200, b"<html>"), Canned(200, b"[]"), Canned(200, b'{"keys":7}')]
)
def test_keys_that_cannot_be_read_are_said_so(server: SmartServer, client: HttpClient, answer: Canned) -> None:
    server.canned["/keys"].append(answer)
    with pytest.raises(LaunchRefused, match="keys cannot be read"):
        _judged(server, client, _token(server))


def test_without_an_issuer_nothing_is_believed(server: SmartServer, client: HttpClient) -> None:
    with pytest.raises(LaunchRefused, match="names no issuer"):
        fhir_user_of(client, _configuration(server, issuer=None), "app", _token(server), NONCE)
