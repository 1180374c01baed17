"""Requests in the client's own name: forms to the token, revocation and introspection endpoints."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import quote_plus

from s4s_lab.errors import S4SError, Waiting
from s4s_lab.net import Answer, HttpClient, retry_after
from s4s_lab.smart.client_keys import ASSERTION_TYPE, client_assertion
from s4s_lab.values import Registration, Secret
from s4s_lab.values.instants import utc_now
from s4s_lab.values.origins import without_query

# An authorization code may end 60 s after it was given, so there is little time to wait for a busy server.
_BUSY_BUDGET_S = 30.0
_BUSY = (429, 503)


def client_authentication(registration: Registration, audience: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers and the form fields by which a client says who it is.

    Clients with a key sign an assertion; those with a secret use HTTP Basic, id and secret form-urlencoded first;
    public ones name their `client_id`.

    Parameters
    ----------
    registration : Registration
        The client.
    audience : str
        The token endpoint.

    Raises
    ------
    UsageError
        If the client's key cannot be used.

    References
    ----------
    RFC 6749, sections 2.3.1 and 3.2.1. RFC 7523, section 2.2. S4S imaging page, "Authorization expectations", item 1.
    """
    if registration.private_key is not None:
        assertion = client_assertion(registration, registration.private_key, audience)
        return {}, {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    if registration.client_secret is None:
        return {}, {"client_id": registration.client_id}
    pair = f"{quote_plus(registration.client_id)}:{quote_plus(registration.client_secret.reveal())}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}, {}


def ask_as_client(
    client: HttpClient,
    endpoint: str,
    registration: Registration,
    form: Mapping[str, str | Secret],
    *,
    audience: str,
) -> tuple[Answer, datetime]:
    """Post a form in a client's name; return the answer and the moment it was asked for.

    Parameters
    ----------
    client : HttpClient
        Needs no credentials of its own.
    endpoint : str
        Where to post it.
    registration : Registration
        The client.
    form : mapping of str to str or Secret
        Its fields, without the client's authentication.
    audience : str
        The token endpoint, which signed assertions are meant for.

    Raises
    ------
    Waiting
        If the server asks for more time than a code lives.
    NotReachable
        If no answer came.
    UsageError
        If the client's key cannot be used.
    """
    ends = time.monotonic() + _BUSY_BUDGET_S
    while True:
        asked_at = utc_now()
        answer = _post(client, endpoint, registration, form, audience)
        wanted = retry_after(answer.headers.get("retry-after"), date=answer.headers.get("date"), now=asked_at)
        if answer.status not in _BUSY or wanted is None:
            return answer, asked_at
        # The server says that it did not act, so this is the one case in which the form may be sent again.
        wait_s = max(wanted, 1.0)
        if wait_s > ends - time.monotonic():
            raise Waiting(
                f"{without_query(endpoint)} asks to come back in {wait_s:.0f} s.",
                not_before=utc_now() + timedelta(seconds=wait_s),
            )
        time.sleep(wait_s)


def _post(
    client: HttpClient, endpoint: str, registration: Registration, form: Mapping[str, str | Secret], audience: str
) -> Answer:
    try:
        headers, fields = client_authentication(registration, audience)
        return client.post_form(endpoint, _revealed(form) | fields, headers=headers)
    except S4SError as error:
        # The frames below hold the form as text, and some tracebacks show what their frames hold.
        raise error.with_traceback(None) from None


def _revealed(form: Mapping[str, str | Secret]) -> dict[str, str]:
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in form.items()}
