"""Dynamic client registration: a client id and secret without an operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from s4s_lab.errors import LaunchNotTried, UnexpectedAnswer
from s4s_lab.net import Answer, HttpClient
from s4s_lab.smart.client_keys import jwks_of, new_key
from s4s_lab.smart.configuration import SmartConfiguration
from s4s_lab.smart.refusals import quotable
from s4s_lab.smart.scopes import scope_to_ask
from s4s_lab.values import S4S_SCOPE, Registration, Secret
from s4s_lab.values.origins import without_query


@dataclass(frozen=True)
class Registered:
    """A registration that was just made.

    Parameters
    ----------
    registration : Registration
        What launches with it.
    expires_at : int
        When its secret ends, in seconds since 1970 [s]; 0: never.
    """

    registration: Registration
    expires_at: int = 0


_BASIC, _KEY, _PUBLIC = "client_secret_basic", "private_key_jwt", "none"
_BY_HAND = "Register with the server's operator, and pass the Registration with client id and secret."


def register(
    client: HttpClient,
    configuration: SmartConfiguration,
    *,
    redirect_uri: str,
    scope: str = S4S_SCOPE,
    client_name: str = "S4S Lab",
) -> Registration:
    """Register as a client with a secret; with a new key, or as a public one, where the server takes no secret.

    Parameters
    ----------
    client : HttpClient
        Needs no credentials.
    configuration : SmartConfiguration
        Of the server; its `registration_endpoint` is asked.
    redirect_uri : str
        Where the browser is to return to.
    scope : str
        What will be asked for in launches.
    client_name : str
        What the participant reads on the consent page.

    Returns
    -------
    Registration
        With the secret that the server gave, or the key that was made for it; else public.

    Raises
    ------
    LaunchNotTried
        If the server offers no registration, or refuses this one.
    UnexpectedAnswer
        If the answer holds no client id.
    NotReachable
        If no answer came.

    References
    ----------
    RFC 7591, sections 2 and 3.
    """
    return register_anew(
        client, configuration, redirect_uri=redirect_uri, scope=scope, client_name=client_name
    ).registration


def register_anew(
    client: HttpClient,
    configuration: SmartConfiguration,
    *,
    redirect_uri: str,
    scope: str = S4S_SCOPE,
    client_name: str = "S4S Lab",
) -> Registered:
    """Do what `register` does, and tell when the secret ends.

    Parameters
    ----------
    client, configuration, redirect_uri, scope, client_name
        As for `register`.

    Raises
    ------
    LaunchNotTried, UnexpectedAnswer, NotReachable
        As `register`.
    """
    endpoint = configuration.registration_endpoint
    if endpoint is None:
        raise LaunchNotTried(
            f"{without_query(configuration.fhir_url)} offers no dynamic registration, and no registration was given.",
            hint=_BY_HAND,
        )
    method = _auth_method(configuration)
    key = new_key() if method == _KEY else None
    wanted: dict[str, Any] = {
        "client_name": client_name,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "scope": scope_to_ask(scope, configuration.capabilities),
    }
    if key is not None:
        wanted["jwks"] = jwks_of(key)
    answer = client.post_json(endpoint, wanted)
    body = _json_object(answer)
    if answer.status not in (200, 201):
        raise LaunchNotTried(f"The server refuses to register this client{_reason(answer, body)}.", hint=_BY_HAND)
    client_id, client_secret = body.get("client_id"), body.get("client_secret")
    if not isinstance(client_id, str) or not client_id:
        raise UnexpectedAnswer("The server registered this client without a client id.", hint=_BY_HAND)
    _require_as_asked(body, redirect_uri, method)
    secret = Secret(client_secret) if isinstance(client_secret, str) and client_secret else None
    ends = body.get("client_secret_expires_at")
    made = Registration(client_id, None if key else secret, redirect_uri, scope, key)
    return Registered(made, ends if isinstance(ends, int) and ends > 0 else 0)


def _auth_method(configuration: SmartConfiguration) -> str:
    return next((method for method in (_BASIC, _KEY, _PUBLIC) if method in configuration.auth_methods), _BASIC)


def _require_as_asked(body: dict[str, Any], redirect_uri: str, wanted: str) -> None:
    """Check what a server may change of a registration (RFC 7591, section 3.2.1) and we cannot follow."""
    uris = body.get("redirect_uris", [redirect_uri])
    if not isinstance(uris, list) or redirect_uri not in uris:
        raise LaunchNotTried(
            f"The server registered this client without its redirect URI {redirect_uri}.", hint=_BY_HAND
        )
    method = body.get("token_endpoint_auth_method", wanted)
    if method != wanted and not (wanted == _BASIC and method == _PUBLIC):
        said = quotable(str(method))
        raise LaunchNotTried(f"The server registered this client for {said}, which was not asked for.", hint=_BY_HAND)


def _json_object(answer: Answer) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _reason(answer: Answer, body: dict[str, Any]) -> str:
    described = body.get("error_description") or body.get("description") or body.get("error")
    said = quotable(described) if isinstance(described, str) else ""
    return f': "{said}"' if said else f" (HTTP status {answer.status})"
