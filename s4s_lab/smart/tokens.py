"""Ask the token endpoint: a code for the first grant, a refresh token for the next."""

from __future__ import annotations

from dataclasses import replace

from s4s_lab.errors import GrantExpired, LaunchRefused
from s4s_lab.net import HttpClient
from s4s_lab.smart.client_requests import ask_as_client
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.scopes import scopes_not_granted
from s4s_lab.smart.token_response import grant_of, read_response, refused, unusable
from s4s_lab.values import Registration, Secret
from s4s_lab.values.origins import without_query

_UNKNOWN_CLIENT = ("invalid_client", "unauthorized_client")
_OTHER_PROOF = (
    "If the client's secret or key was renewed, give the new one, and nobody has to approve again: "
    "s4s_lab.connection.reopen(grants_file, registration=…), or --registration FILE of s4s pull, fetch or disconnect."
)


def redeem_code(
    client: HttpClient,
    token_endpoint: str,
    registration: Registration,
    *,
    code: Secret,
    verifier: Secret | None,
    scope: str,
) -> tuple[Grant, Secret | None]:
    """Exchange an authorization code for the first grant, and the ID token that may come with it.

    Parameters
    ----------
    client : HttpClient
        Needs no credentials of its own.
    token_endpoint : str
        From the server's configuration, never from the answer.
    registration : Registration
        The client.
    code : Secret
        From the authorization response.
    verifier : Secret or None
        The PKCE verifier of the launch, where it has one.
    scope : str
        What was asked for; it was granted where the answer names no scope.

    Raises
    ------
    LaunchRefused
        With the OAuth error code, such as `invalid_client` or `invalid_grant`.
    UnexpectedAnswer
        If the answer is no token response, or names no patient.
    Waiting
        If the server asks for more time than a code lives.
    NotReachable
        If no answer came.

    References
    ----------
    RFC 6749, sections 4.1.3, 5.1 and 5.2. RFC 7636, section 4.5.
    """
    form: dict[str, str | Secret] = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": registration.redirect_uri,
    }
    if verifier is not None:
        form["code_verifier"] = verifier
    answer, asked_at = ask_as_client(client, token_endpoint, registration, form, audience=token_endpoint)
    if answer.status != 200:
        raise refused(answer, secrets=[code, verifier, registration.client_secret])
    response = read_response(answer)
    return grant_of(response, previous=None, scope=scope, asked_at=asked_at), response.id_token


def refresh_grant(client: HttpClient, token_endpoint: str, registration: Registration, grant: Grant) -> Grant:
    """Exchange a refresh token for the next grant; the scope is left out, so that what was granted stays.

    Parameters
    ----------
    client : HttpClient
        Needs no credentials of its own.
    token_endpoint : str
        The one that gave the grant.
    registration : Registration
        The client that the grant is bound to.
    grant : Grant
        The newest one; its refresh token is kept when the server gives no other.

    Raises
    ------
    GrantExpired
        If there is no refresh token, or the server does not take it any more (`invalid_grant`).
    LaunchRefused
        With another OAuth error code, such as `invalid_client`.
    UnexpectedAnswer
        If the answer is no token response.
    PatientMismatch
        If the server names another patient than before.
    Waiting
        If the server asks for time.
    NotReachable
        If no answer came.

    References
    ----------
    RFC 6749, section 6. SMART App Launch 2.2, "Refresh access token".
    """
    if grant.refresh_token is None:
        raise GrantExpired("The access has ended, and the server gave no refresh token to renew it.")
    form: dict[str, str | Secret] = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
    answer, asked_at = ask_as_client(client, token_endpoint, registration, form, audience=token_endpoint)
    if answer.status >= 500:
        where = without_query(token_endpoint)
        said = f"The token endpoint {where} failed (HTTP status {answer.status})."
        raise unusable(said, status=answer.status)
    if answer.status != 200:
        no = refused(answer, secrets=[grant.refresh_token, registration.client_secret])
        if no.error == "invalid_grant":
            raise GrantExpired("The server does not renew this grant any more: it was revoked, used up or is too old.")
        if no.error in _UNKNOWN_CLIENT:
            raise LaunchRefused(no.args[0], error=no.error, hint=_OTHER_PROOF)
        raise no
    renewed = grant_of(read_response(answer), previous=grant, scope=grant.scope, asked_at=asked_at)
    # Other words for the same are no other scope: pulls begin anew for another one.
    return renewed if narrowed_since(grant, renewed) else replace(renewed, scope=grant.scope)


def lacking(grant: Grant, asked: str) -> list[str]:
    """List the scopes that were asked for and have no effect in a grant.

    `launch/patient` has served its purpose when a patient is named, `offline_access` when there is a refresh token,
    `openid` and `fhirUser` when it is known who signed in, whether the server repeats them or not.

    Parameters
    ----------
    grant : Grant
        What came of it.
    asked : str
        Space-separated scopes.
    """
    signed_in = grant.fhir_user is not None
    by_effect = {"launch/patient": True, "launch": True, "offline_access": grant.refresh_token is not None}
    by_effect |= {"openid": signed_in, "fhirUser": signed_in}
    not_named = scopes_not_granted(asked, grant.scope)
    return [scope for scope in asked.split() if not by_effect.get(scope, scope not in not_named)]


def narrowed_since(before: Grant, now: Grant) -> str | None:
    """Say in a sentence what a renewal no longer grants; None when it grants the same.

    Parameters
    ----------
    before, now : Grant
        The grant, and what it was renewed to.
    """
    missing = lacking(now, before.scope)
    return (
        f"The server renewed the grant for less than before; not granted any more: {', '.join(missing)}."
        if missing
        else None
    )


def narrowed(grant: Grant, asked: str) -> str | None:
    """Say in sentences what of the asked scopes is missing; None when nothing is.

    Parameters
    ----------
    grant : Grant
        What came of it.
    asked : str
        Space-separated scopes.
    """
    missing = lacking(grant, asked)
    if not missing:
        return None
    said = f"The server granted less than was asked; not granted: {', '.join(missing)}."
    if "offline_access" in missing:
        said += " It gave no refresh token: the access ends with its first token, then the participant approves again."
    return said
