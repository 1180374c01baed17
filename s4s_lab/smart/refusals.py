"""OAuth errors as sentences: what the server said, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterable

from s4s_lab.errors import LaunchRefused
from s4s_lab.values import Secret

_MEANING = {
    "access_denied": (
        "The participant did not consent, or the server refused on their behalf.",
        "Nothing was shared; launch again if that was not meant.",
    ),
    "invalid_client": (
        "The server does not accept this client id and secret or key.",
        "Check the registration: its secret or key may be missing, wrong, renewed since, or of another server.",
    ),
    "unauthorized_client": (
        "The server knows this client, but does not allow it this way of launching.",
        "Ask the server's operator to allow the authorization code grant for this client.",
    ),
    "invalid_grant": (
        "The server does not accept the code: it was used before, is too old, or belongs to another launch.",
        "Launch again, and finish within a minute of the approval.",
    ),
    "unsupported_response_type": (
        "The server does not offer this way of launching: the authorization code flow.",
        "Ask the server's operator to allow the authorization code grant for this client.",
    ),
    "unsupported_grant_type": (
        "The server does not offer this way of launching: the authorization code flow, with refresh tokens.",
        "Ask the server's operator to allow the authorization code grant for this client.",
    ),
    "login_required": ("The participant has to sign in first.", "Launch again, and sign in on the server's page."),
    "interaction_required": ("The participant has to sign in first.", "Launch again, and answer the server's page."),
    "consent_required": ("The participant's consent is missing.", "Launch again, and answer the consent page."),
    "invalid_scope": (
        "The server does not grant the scopes that were asked for.",
        "Ask for fewer scopes in the registration.",
    ),
    "invalid_request": (
        "The server does not accept the request.",
        "Check that client id and redirect URI are exactly the registered ones.",
    ),
    "temporarily_unavailable": ("The server is too busy to authorize just now.", "Launch again later."),
    "server_error": ("The server failed while it authorized.", "Launch again; if it stays so, tell its operator."),
    "state_mismatch": (
        "The answer belongs to another launch, or this one was answered before.",
        "Use the link of this very launch, or launch again.",
    ),
    "issuer_mismatch": (
        "The answer comes from another authorization server than the one that was asked.",
        "Do not go on with it; launch again, and tell the server's operator if it stays so.",
    ),
}
_UNKNOWN = ("The server refused the launch.", "Launch again, or ask the server's operator.")
_NOT_A_CODE = re.compile(r"[^\x21\x23-\x5b\x5d-\x7e]")


def refusal(error: str, description: str = "", *, secrets: Iterable[Secret | None] = ()) -> LaunchRefused:
    """Build the exception for an OAuth error.

    Parameters
    ----------
    error : str
        The error code, as the server gave it, or one of ours.
    description : str
        The server's own words; quoted, shortened, without queries of addresses.
    secrets : iterable of Secret or None
        What was sent, so that a server that echoes it does not leak it.

    References
    ----------
    RFC 6749, sections 4.1.2.1 and 5.2: codes and the characters allowed in them.
    """
    code = _NOT_A_CODE.sub("", error)[:64]
    meaning, hint = _MEANING.get(code, _UNKNOWN)
    quoted = quotable(description, secrets)
    said = f' It says: "{quoted}".' if quoted else ""
    return LaunchRefused(f"{meaning}{said} ({code})", error=code, hint=hint)


def without_state(error: str) -> LaunchRefused:
    """Build the exception for an error that says of no launch that it is meant; it quotes nothing.

    Parameters
    ----------
    error : str
        The error code; named if it is one of the standard's, since any page can have sent it.

    References
    ----------
    RFC 6749, section 4.1.2.1: `state` is required where the request had it.
    """
    named = error if error in _MEANING else "one of no known kind"
    return LaunchRefused(
        f"The server sent an error without state: {named}.",
        error="no_state",
        hint="Launch again if that was you. If not, go on: any page can send that, and it ends nothing.",
    )


def quotable(text: str, secrets: Iterable[Secret | None] = ()) -> str:
    """Return a server's words fit for a message: one line of at most 200 characters, no queries, no secrets.

    Parameters
    ----------
    text : str
        As received.
    secrets : iterable of Secret or None
        Texts to blot out.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret.reveal(), "…")
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())
    line = re.sub(r"\?\S+", "?…", line).rstrip(".")
    return line if len(line) <= 200 else line[:199] + "…"
