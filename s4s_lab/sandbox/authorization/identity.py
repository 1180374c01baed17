"""Who signed in: ID tokens, and the key they are signed with."""

from __future__ import annotations

import base64
import time
from functools import cached_property
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from s4s_lab.sandbox.site import Site

_KEY_ID = "sandbox-1"
_LIFETIME_S = 3600


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Identity:
    """Signs ID tokens (RS256); its key lives as long as the server.

    Parameters
    ----------
    site : Site
        Its addresses.

    References
    ----------
    OpenID Connect Core 1.0, section 2. SMART App Launch 2.2, "Scopes for requesting identity data".
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        # Made when it is first needed: most sandboxes never are asked who signed in.
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": _KEY_ID,
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }
        return {"keys": [key]}

    def token(self, client_id: str, patient_id: str, nonce: str | None) -> str:
        """Return an ID token for one sign-in.

        Parameters
        ----------
        client_id : str
            Whom it is for.
        patient_id : str
            Who signed in: in this sandbox every participant signs in for themselves.
        nonce : str or None
            As asked.
        """
        now = int(time.time())
        claims = {
            "iss": self._site.fhir_url,
            "sub": patient_id,
            "aud": client_id,
            "iat": now,
            "exp": now + _LIFETIME_S,
            "fhirUser": f"{self._site.fhir_url}/Patient/{patient_id}",
        }
        if nonce is not None:
            claims["nonce"] = nonce
        header = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = ".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))
        return f"{signed}.{_base64url(self._key.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"
