"""Who signed in: the ID token of `openid fhirUser`, believed only when everything about it is right."""

from __future__ import annotations

import hmac
import json
import time
from typing import Any, NoReturn
from urllib.parse import urljoin

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from s4s_lab.errors import LaunchRefused, S4SError
from s4s_lab.net import HttpClient
from s4s_lab.smart.configuration import SmartConfiguration
from s4s_lab.values import Secret

# RS256 is what SMART demands; none of these can be made with a key that is public or shared.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384"]
_CLOCKS_DIFFER_S = 60
_MAX_BYTES = 256 << 10
_JSON = "application/json, application/jwk-set+json"


def fhir_user_of(
    client: HttpClient, configuration: SmartConfiguration, client_id: str, id_token: Secret, nonce: Secret
) -> str | None:
    """Return the FHIR resource of who signed in, None when the token names none.

    Parameters
    ----------
    client : HttpClient
        Reads the server's keys; needs no credentials.
    configuration : SmartConfiguration
        Of the server; its `issuer` and `jwks_uri`.
    client_id : str
        Whom the token has to be for.
    id_token : Secret
        Of the token response.
    nonce : Secret
        The launch's own.

    Returns
    -------
    str or None
        An absolute address, such as `https://ehr.example/fhir/Patient/123`.

    Raises
    ------
    LaunchRefused
        With `invalid_id_token`, if the signature, issuer, audience, time or nonce is wrong, or the keys are missing.

    References
    ----------
    OpenID Connect Core 1.0, section 3.1.3.7. SMART App Launch 2.2, "Scopes for requesting identity data".
    """
    keys = _keys(client, configuration)
    try:
        claims = jwt.decode(id_token.reveal(), keys, algorithms=_ALGORITHMS).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        _refuse("its signature is not the server's")
    _check(claims, configuration, client_id, nonce)
    named = claims.get("fhirUser") or claims.get("profile")
    return urljoin(f"{configuration.fhir_url}/", named) if isinstance(named, str) and named else None


def _check(claims: dict[str, Any], configuration: SmartConfiguration, client_id: str, nonce: Secret) -> None:
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    ends = claims.get("exp")
    if claims.get("iss") != configuration.issuer:
        _refuse("it comes from another issuer")
    if client_id not in named or (len(named) > 1 and claims.get("azp") != client_id):
        _refuse("it is for another app")
    if isinstance(ends, bool) or not isinstance(ends, int | float) or not time.time() - _CLOCKS_DIFFER_S < ends:
        _refuse("it has ended; the clock here may be wrong")
    if not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce.reveal().encode()):
        _refuse("it belongs to another launch")


def _keys(client: HttpClient, configuration: SmartConfiguration) -> KeySet:
    issuer, jwks_uri = configuration.issuer, configuration.jwks_uri
    if issuer is None:
        _refuse("the server names no issuer to compare it with")
    try:
        if jwks_uri is None:
            jwks_uri = str(_document(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration").get("jwks_uri"))
        return KeySet.import_key_set(_document(client, jwks_uri))  # type: ignore[arg-type]  # judged by the library
    except (S4SError, JoseError, ValueError, TypeError, KeyError, RecursionError):
        _refuse("the server's keys cannot be read")


def _document(client: HttpClient, url: str) -> dict[str, Any]:
    answer = client.get(url, accept=_JSON, max_bytes=_MAX_BYTES)
    document = json.loads(answer.body) if answer.status == 200 else None
    if not isinstance(document, dict):
        raise TypeError("no JSON object")
    return document


def _refuse(why: str) -> NoReturn:
    raise LaunchRefused(
        f"The server's word on who signed in (ID token) is not believed: {why}.",
        error="invalid_id_token",
        hint="Launch again; if it stays so, tell the server's operator, or leave openid and fhirUser out of the scope.",
    ) from None
