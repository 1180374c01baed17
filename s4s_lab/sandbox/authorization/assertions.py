"""Apps that prove themselves with a key: public keys as registered, and the assertions signed with the private ones."""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST_S = 300
_CLOCKS_DIFFER_S = 30
_P384_BYTES = 48
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def public_keys(jwks: object) -> dict[str, PublicKey]:
    """Return the keys of a JSON Web Key Set by `kid`: RSA of 2048 bits or more, EC on P-384.

    Parameters
    ----------
    jwks : object
        As registered.

    Raises
    ------
    ValueError
        If it is no set of such keys, one of them is private, or has no `kid`.

    References
    ----------
    RFC 7517; RFC 7518, section 6.
    """
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(listed, list) or not listed:
        raise ValueError("no keys")
    return {_kid(one): _public_key(one) for one in listed}


def _kid(key: Any) -> str:
    if not isinstance(key, dict) or "d" in key or not isinstance(key.get("kid"), str) or not key["kid"]:
        raise ValueError("no public key with a kid")
    return str(key["kid"])


def _public_key(key: Mapping[str, Any]) -> PublicKey:
    if key.get("kty") == "RSA":
        made = rsa.RSAPublicNumbers(_number(key.get("e")), _number(key.get("n"))).public_key()
        if made.key_size < 2048:
            raise ValueError("the key is too short")
        return made
    if key.get("kty") == "EC" and key.get("crv") == "P-384":
        x, y = _number(key.get("x")), _number(key.get("y"))
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
    raise ValueError("a key of another kind")


def _number(text: object) -> int:
    return int.from_bytes(_decoded(text if isinstance(text, str) else ""), "big")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("no base64url") from None


class Assertions:
    """Judges client assertions; each is good once.

    Parameters
    ----------
    audience : str
        The token endpoint, which they have to be meant for.

    References
    ----------
    SMART App Launch 2.2, "Client authentication: asymmetric"; RFC 7523, section 3.
    """

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._seen: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def issuer(self, assertion: str) -> str:
        """Return the client id that an assertion names, unproven.

        Parameters
        ----------
        assertion : str
            As sent.

        Raises
        ------
        ValueError
            If it is no JWT.
        """
        return str(_parts(assertion)[1].get("iss"))

    def wrong(self, assertion: str, client_id: str, keys: Mapping[str, PublicKey]) -> str | None:
        """Say what is wrong with an assertion; None when nothing is.

        Parameters
        ----------
        assertion : str
            As sent.
        client_id : str
            The client that it names.
        keys : mapping of str to public key
            Of that client.
        """
        try:
            header, claims, signature = _parts(assertion)
            key = keys.get(str(header.get("kid")))
            if key is None:
                return "it names no registered key (kid)"
            _verify(key, str(header.get("alg")), assertion.rpartition(".")[0].encode(), signature)
        except ValueError as error:
            return str(error)
        except InvalidSignature:
            return "its signature is wrong"
        return self._wrong_claims(claims, client_id)

    def _wrong_claims(self, claims: Mapping[str, Any], client_id: str) -> str | None:
        now, ends, name = time.time(), claims.get("exp"), claims.get("jti")
        if claims.get("sub") != client_id:
            return "iss and sub differ"
        if claims.get("aud") != self._audience:
            return f"aud is not {self._audience}"
        if isinstance(ends, bool) or not isinstance(ends, int | float):
            return "exp is missing"
        if not now - _CLOCKS_DIFFER_S < ends < now + _LONGEST_S + _CLOCKS_DIFFER_S:
            return "it has ended, or is good for more than five minutes"
        if not isinstance(name, str) or not name:
            return "jti is missing"
        with self._lock:
            self._seen = {one: until for one, until in self._seen.items() if until > now - _CLOCKS_DIFFER_S}
            if (client_id, name) in self._seen:
                return "it was used before"
            self._seen[client_id, name] = ends
        return None


def _parts(assertion: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    parts = assertion.split(".")
    if len(parts) != 3:
        raise ValueError("it is no JWT")
    try:
        header, claims = (msgspec.json.decode(_decoded(part), type=dict[str, Any]) for part in parts[:2])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("it is no JWT") from None
    return header, claims, _decoded(parts[2])


def _verify(key: PublicKey, algorithm: str, signed: bytes, signature: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey) and algorithm == "RS384":
        key.verify(signature, signed, padding.PKCS1v15(), SHA384())
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm == "ES384" and len(signature) == 2 * _P384_BYTES:
        r, s = (int.from_bytes(part, "big") for part in (signature[:_P384_BYTES], signature[_P384_BYTES:]))
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA384()))
    else:
        raise ValueError("alg is not RS384 or ES384, or is not the key's")
