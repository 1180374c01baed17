"""Signing as a client: the assertions of `private_key_jwt`, and the public keys to register."""

from __future__ import annotations

import json
import secrets
import time
import warnings
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, Key, RSAKey

from s4s_lab.errors import UsageError
from s4s_lab.values import PrivateKey, Registration, Secret

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIFETIME_S = 240
_MIN_RSA_BITS = 2048
_HINT = "Give an RSA key of 2048 bits or more, or an EC key on curve P-384, as PEM without a pass phrase or as a JWK."


def client_assertion(registration: Registration, key: PrivateKey, audience: str) -> str:
    """Return a JWT by which a client says who it is, good for four minutes and one use.

    Parameters
    ----------
    registration : Registration
        The client.
    key : PrivateKey
        Its key.
    audience : str
        The token endpoint.

    Raises
    ------
    UsageError
        If the key cannot be used.

    References
    ----------
    SMART App Launch 2.2, "Client authentication: asymmetric": RS384 or ES384, `exp` at most five minutes ahead.
    RFC 7523, section 3.
    """
    loaded = _loaded(key)
    now = int(time.time())
    header = {"typ": "JWT", "alg": _algorithm(loaded), "kid": _key_id(key, loaded)}
    claims = {
        "iss": registration.client_id,
        "sub": registration.client_id,
        "aud": audience,
        "iat": now,
        "exp": now + _LIFETIME_S,
        "jti": secrets.token_urlsafe(24),
    }
    return jwt.encode(header, claims, loaded, algorithms=["RS384", "ES384"])


def jwks_of(key: PrivateKey) -> dict[str, Any]:
    """Return the JSON Web Key Set to register for a key: its public part only.

    Parameters
    ----------
    key : PrivateKey
        A client's.

    Raises
    ------
    UsageError
        If the key cannot be used.

    References
    ----------
    RFC 7517, section 5.
    """
    loaded = _loaded(key)
    facts = {"kid": _key_id(key, loaded), "alg": _algorithm(loaded), "use": "sig", "key_ops": ["verify"]}
    return {"keys": [{**loaded.as_dict(private=False), **facts}]}


def new_key() -> PrivateKey:
    """Make a key of the smaller of the two kinds that SMART knows: EC on curve P-384, for ES384."""
    made = ECKey.generate_key("P-384")
    return PrivateKey(Secret(made.as_pem(private=True).decode()), made.thumbprint())


def _loaded(key: PrivateKey) -> RSAKey | ECKey:
    text = key.text.reveal().strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of keys that are refused below
            loaded = JWKRegistry.import_key(json.loads(text)) if text.startswith("{") else _of_pem(text.encode())
    except (JoseError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        raise UsageError("The private key cannot be read.", hint=_HINT) from None
    _require_usable(loaded)
    assert isinstance(loaded, RSAKey | ECKey)  # noqa: S101  for the type checker: that is what was required
    return loaded


def _of_pem(pem: bytes) -> Key:
    elliptic = isinstance(load_pem_private_key(pem, None), EllipticCurvePrivateKey)
    return ECKey.import_key(pem) if elliptic else RSAKey.import_key(pem)


def _require_usable(key: Key) -> None:
    strong = isinstance(key, RSAKey) and key.raw_value.key_size >= _MIN_RSA_BITS
    if not (strong or (isinstance(key, ECKey) and key.curve_name == "P-384")):
        raise UsageError("The private key is of a kind that SMART does not know.", hint=_HINT)
    if not key.is_private:
        raise UsageError("The key is a public one: a client signs with its private key.", hint=_HINT)


def _algorithm(key: RSAKey | ECKey) -> str:
    return "ES384" if isinstance(key, ECKey) else "RS384"


def _key_id(key: PrivateKey, loaded: RSAKey | ECKey) -> str:
    return key.key_id or loaded.kid or loaded.thumbprint()
