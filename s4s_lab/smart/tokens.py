"""Ask the token endpoint: a code for the first grant, a refresh token for the next."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import quote_plus

from s4s_lab.errors import GrantExpired, S4SError, UnexpectedAnswer, Waiting
from s4s_lab.net import Answer, HttpClient, retry_after
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.scopes import scopes_not_granted
from s4s_lab.smart.token_response import grant_of, read_response, refused
from s4s_lab.values import Registration, Secret
from s4s_lab.values.instants import utc_now
from s4s_lab.values.origins import without_query

# An authorization code may end 60 s after it was given, so there is little time to wait for a busy server.
_BUSY_BUDGET_S = 30.0
_BUSY = (429, 503)


def client_authentication(registration: Registration) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers and the form fields by which a client says who it is.

    Confidential clients use HTTP Basic, id and secret form-urlencoded first; public ones name their `client_id`.

    Parameters
    ----------
    registration : Registration
        The client.

    References
    ----------
    RFC 6749, sections 2.3.1 and 3.2.1. S4S imaging page, "Authorization expectations", item 1.
    """
    if registration.client_secret is None:
        return {}, {"client_id": registration.client_id}
    pair = f"{quote_plus(registration.client_id)}:{quote_plus(registration.client_secret.reveal())}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}, {}


def redeem_code(
    client: HttpClient, token_endpoint: str, registration: Registration, *, code: Secret, verifier: Secret, scope: str
) -> Grant:
    """Exchange an authorization code for the first grant.

    Parameters
    ----------
    client : HttpClient
        Needs no credentials of its own.
    token_endpoint : str
        From the server's configuration, never from the answer.
    registration : Registration
        The client.
    code, verifier : Secret
        From the authorization response, and the PKCE verifier of the launch.
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
        "code_verifier": verifier,
    }
    answer, asked_at = _ask(client, token_endpoint, registration, form)
    if answer.status != 200:
        raise refused(answer, secrets=[code, verifier, registration.client_secret])
    return grant_of(read_response(answer), previous=None, scope=scope, asked_at=asked_at)


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
    answer, asked_at = _ask(client, token_endpoint, registration, form)
    if answer.status >= 500:
        where = without_query(token_endpoint)
        raise UnexpectedAnswer(
            f"The token endpoint {where} failed (HTTP status {answer.status}).", status=answer.status
        )
    if answer.status != 200:
        no = refused(answer, secrets=[grant.refresh_token, registration.client_secret])
        if no.error == "invalid_grant":
            raise GrantExpired("The server does not renew this grant any more: it was revoked, used up or is too old.")
        raise no
    return grant_of(read_response(answer), previous=grant, scope=grant.scope, asked_at=asked_at)


def lacking(grant: Grant, asked: str) -> list[str]:
    """List the scopes that were asked for and have no effect in a grant.

    `launch/patient` has served its purpose when a patient is named, `offline_access` when there is a refresh token,
    whether the server repeats them or not.

    Parameters
    ----------
    grant : Grant
        What came of it.
    asked : str
        Space-separated scopes.
    """
    by_effect = {"launch/patient": True, "offline_access": grant.refresh_token is not None}
    not_named = scopes_not_granted(asked, grant.scope)
    return [scope for scope in asked.split() if not by_effect.get(scope, scope not in not_named)]


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


def _ask(
    client: HttpClient, token_endpoint: str, registration: Registration, form: Mapping[str, str | Secret]
) -> tuple[Answer, datetime]:
    """Post to the token endpoint; return the answer and the moment it was asked for."""
    left_s = _BUSY_BUDGET_S
    while True:
        asked_at = utc_now()
        answer = _post(client, token_endpoint, registration, form)
        wanted = retry_after(answer.headers.get("retry-after"), date=answer.headers.get("date"), now=asked_at)
        if answer.status not in _BUSY or wanted is None:
            return answer, asked_at
        # The server says that it did not act, so this is the one case in which the form may be sent again.
        wait_s = max(wanted, 1.0)
        if wait_s > left_s:
            raise Waiting(
                f"{without_query(token_endpoint)} asks to come back in {wait_s:.0f} s.",
                not_before=utc_now() + timedelta(seconds=wait_s),
            )
        left_s -= wait_s
        time.sleep(wait_s)


def _post(
    client: HttpClient, token_endpoint: str, registration: Registration, form: Mapping[str, str | Secret]
) -> Answer:
    try:
        return client.post_form(
            token_endpoint,
            _revealed(form) | client_authentication(registration)[1],
            headers=client_authentication(registration)[0],
        )
    except S4SError as error:
        # The frames below hold the form as text, and some tracebacks show what their frames hold.
        raise error.with_traceback(None) from None


def _revealed(form: Mapping[str, str | Secret]) -> dict[str, str]:
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in form.items()}
