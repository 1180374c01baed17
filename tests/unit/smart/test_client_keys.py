"""Signing as a client: the assertion as SMART wants it, keys that are refused, what is told of a key."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from s4s_lab.errors import UsageError
from s4s_lab.smart.client_keys import client_assertion, jwks_of
from s4s_lab.smart.client_requests import client_authentication
from s4s_lab.values import PrivateKey, Registration, Secret

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP384R1())
APP = Registration("app one")
AUDIENCE = "https://ehr.example/token"


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, kind: PrivateFormat = PrivateFormat.PKCS8) -> Secret:
    return Secret(key.private_bytes(Encoding.PEM, kind, NoEncryption()).decode())


def _json(part: str) -> dict[str, Any]:
    return dict(json.loads(_bytes(part)))


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize("kind", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_rsa_key_signs_rs384(kind: PrivateFormat) -> None:
    key = PrivateKey(_pem(RSA_KEY, kind), "kid-1")
    header, claims, signature = client_assertion(APP, key, AUDIENCE).split(".")
    assert _json(header) == {"typ": "JWT", "alg": "RS384", "kid": "kid-1"}
    RSA_KEY.public_key().verify(_bytes(signature), f"{header}.{claims}".encode(), padding.PKCS1v15(), SHA384())


def test_an_ec_key_signs_es384() -> None:
    header, claims, signature = client_assertion(APP, PrivateKey(_pem(EC_KEY)), AUDIENCE).split(".")
    raw = _bytes(signature)
    r, s = int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big")
    EC_KEY.public_key().verify(encode_dss_signature(r, s), f"{header}.{claims}".encode(), ec.ECDSA(SHA384()))
    assert _json(header)["alg"] == "ES384"


def test_the_claims_are_those_of_smart_and_no_two_assertions_are_the_same() -> None:
    key = PrivateKey(_pem(EC_KEY))
    before = time.time()
    one, other = (_json(client_assertion(APP, key, AUDIENCE).split(".")[1]) for _ in range(2))
    assert (one["iss"], one["sub"], one["aud"]) == ("app one", "app one", AUDIENCE)
    assert 0 < one["exp"] - before <= 300
    assert one["jti"] != other["jti"]


def test_the_assertion_goes_in_the_form_and_no_header() -> None:
    headers, form = client_authentication(Registration("app", private_key=PrivateKey(_pem(EC_KEY))), AUDIENCE)
    assert headers == {}
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert set(form) == {"client_assertion_type", "client_assertion"}


@pytest.mark.parametrize("key", [RSA_KEY, EC_KEY])
def test_what_is_registered_is_public_only(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    registered = jwks_of(PrivateKey(_pem(key)))["keys"][0]
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(registered)
    assert registered["kid"] == _json(client_assertion(APP, PrivateKey(_pem(key)), AUDIENCE).split(".")[0])["kid"]
    assert (registered["use"], registered["alg"]) == ("sig", "RS384" if registered["kty"] == "RSA" else "ES384")


def test_a_jwk_with_its_own_kid_is_taken() -> None:
    numbers = EC_KEY.private_numbers()
    encoded = {
        name: base64.urlsafe_b64encode(value.to_bytes(48, "big")).rstrip(b"=").decode()
        for name, value in (
            ("x", numbers.public_numbers.x),
            ("y", numbers.public_numbers.y),
            ("d", numbers.private_value),
        )
    }
    jwk = {"kty": "EC", "crv": "P-384", "kid": "mine"} | encoded
    header = _json(client_assertion(APP, PrivateKey(Secret(json.dumps(jwk))), AUDIENCE).split(".")[0])
    assert (header["kid"], header["alg"]) == ("mine", "ES384")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no key",
        "{}",
        "{broken",
        _pem(rsa.generate_private_key(65537, 1024)).reveal(),  # noqa: S505  to be refused
        _pem(ec.generate_private_key(ec.SECP256R1())).reveal(),
        EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode(),
        json.dumps({"kty": "oct", "k": "c2VjcmV0"}),
        json.dumps(jwks_of(PrivateKey(_pem(EC_KEY)))["keys"][0]),
    ],
    ids=["empty", "text", "object", "broken", "short RSA", "P-256", "pass phrase", "shared secret", "public"],
)
def test_a_key_that_is_none_for_smart_is_said_so(text: str) -> None:
    with pytest.raises(UsageError, match=r"2048 bits or more, or an EC key on curve P-384") as caught:
        client_assertion(APP, PrivateKey(Secret(text)), AUDIENCE)
    assert "PRIVATE" not in str(caught.value)
