"""Judge what a token endpoint answers: bounded, JSON only, each field checked before it is believed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from s4s_lab.errors import LaunchRefused, PatientMismatch, UnexpectedAnswer
from s4s_lab.net import Answer
from s4s_lab.smart.grants import DEFAULT_LIFETIME_S, Grant
from s4s_lab.smart.refusals import refusal
from s4s_lab.smart.scopes import scopes_in_both
from s4s_lab.smart.secrets_in_json import hide
from s4s_lab.values import Secret
from s4s_lab.values.origins import without_query

_MAX_BYTES = 64 << 10
_OK = 200
_SHORTEST_S, _LONGEST_S = 30, 86_400
_TOKEN = re.compile(r"[\x21-\x7e]+")
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)


@dataclass(frozen=True)
class TokenResponse:
    """The fields of a token response that mean something to us, tokens hidden from the first moment.

    Parameters
    ----------
    access_token, refresh_token, id_token : Secret or None
        Not yet checked for their characters.
    token_type, scope, patient, expires_in, error, error_description, description
        As the server sent them, of any JSON type; `description` is what the S4S reference server calls an error's.

    References
    ----------
    RFC 6749, sections 5.1 and 5.2.
    """

    access_token: Secret | None = None
    refresh_token: Secret | None = None
    id_token: Secret | None = None
    token_type: Any = None
    scope: Any = None
    patient: Any = None
    expires_in: Any = None
    error: Any = None
    error_description: Any = None
    description: Any = None


def unusable(said: str, *, status: int | None = None) -> UnexpectedAnswer:
    """Build the exception for an answer that is outside the standard.

    Parameters
    ----------
    said : str
        What came, as one sentence.
    status : int, optional
        The HTTP status, when that is what was wrong.
    """
    hint = "Run the same again later; if it stays so, tell the server's operator."
    return UnexpectedAnswer(said, hint=hint, status=status)


def read_response(answer: Answer) -> TokenResponse:
    """Decode a token endpoint's answer of any status.

    Parameters
    ----------
    answer : Answer
        At most 64 KiB of it are believed.

    Raises
    ------
    UnexpectedAnswer
        If it is too large, or no JSON object with tokens that are text.
    """
    where = f"The token endpoint {without_query(answer.url)}"
    if len(answer.body) > _MAX_BYTES:
        raise unusable(f"{where} sent more than {_MAX_BYTES >> 10} KiB.", status=answer.status)
    if "json" not in answer.headers.get("content-type", "json").lower():
        said = f"{where} answered with something that is no JSON (HTTP status {answer.status})."
        raise unusable(said, status=answer.status)
    try:
        return msgspec.json.decode(answer.body, type=TokenResponse, dec_hook=hide)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = f"{where} answered with no usable JSON object (HTTP status {answer.status})."
        raise unusable(said, status=answer.status) from None


def refused(answer: Answer, *, secrets: Iterable[Secret | None]) -> LaunchRefused:
    """Build the exception for an answer whose status is not 200.

    Parameters
    ----------
    answer : Answer
        Of the token endpoint.
    secrets : iterable of Secret or None
        What was sent, so that an echo of it does not get into the message.

    Raises
    ------
    UnexpectedAnswer
        If the answer names no OAuth error and its status means none either.
    """
    try:
        response = read_response(answer)
    except UnexpectedAnswer:
        response = TokenResponse()
    if isinstance(response.error, str) and response.error:
        said = response.error_description or response.description
        return refusal(response.error, said if isinstance(said, str) else "", secrets=secrets)
    if answer.status == 401:
        # The S4S reference server answers so to a code that came later than after its 100 s.
        return LaunchRefused(
            "The token endpoint refused (HTTP status 401) and gave no reason: a wrong client secret, or a late code.",
            error="invalid_client",
            hint="Check the registration's secret, then launch again and approve without delay.",
        )
    where = without_query(answer.url)
    raise unusable(f"The token endpoint {where} answered with HTTP status {answer.status} and no OAuth error.")


def grant_of(response: TokenResponse, *, previous: Grant | None, scope: str, asked_at: datetime) -> Grant:
    """Build a grant from a token response; messages name fields, never values.

    Parameters
    ----------
    response : TokenResponse
        Of status 200.
    previous : Grant or None
        The one that was renewed: its patient must stay, its refresh token stays when no other is given, and its scopes
        are the most that is believed to be granted.
    scope : str
        What counts as granted where the response names no scope (RFC 6749, section 5.1).
    asked_at : datetime
        When the token was asked for; its lifetime counts from there.

    Raises
    ------
    UnexpectedAnswer
        If a field is missing or malformed: `token_type` other than Bearer, no access token, `patient` no FHIR id.
    PatientMismatch
        If a renewal names another patient.
    """
    if str(response.token_type).lower() != "bearer":
        raise unusable("The token response is of another token_type than Bearer.", status=_OK)
    access_token = _checked(response.access_token, "access_token")
    if access_token is None:
        raise unusable("The token response holds no access_token.", status=_OK)
    lifetime_s = lifetime_of(response.expires_in)
    return Grant(
        access_token=access_token,
        refresh_token=_checked(response.refresh_token, "refresh_token")
        or (previous.refresh_token if previous else None),
        scope=_granted_scope(response.scope, scope, previous),
        patient_id=_patient_id(response.patient, previous),
        expires_at=asked_at + timedelta(seconds=lifetime_s),
        generation=previous.generation + 1 if previous else 1,
        lifetime_s=lifetime_s,
        fhir_user=previous.fhir_user if previous else None,
    )


def _checked(token: Secret | None, name: str) -> Secret | None:
    if not token:
        return None
    # Any other character could end a header line and begin another (RFC 6749, appendix A: VSCHAR).
    if _TOKEN.fullmatch(token.reveal()) is None:
        raise unusable(f"The token response's {name} holds characters that no token has.", status=_OK)
    return token


def _granted_scope(named: object, unnamed: str, previous: Grant | None) -> str:
    scope = " ".join(named.split()) if isinstance(named, str) else ""
    if previous is None or not scope:
        return scope or unnamed
    # RFC 6749, section 6: a renewal cannot grant what the participant did not.
    return scopes_in_both(previous.scope, scope)


def _patient_id(patient: object, previous: Grant | None) -> str:
    if patient is None and previous is not None:
        return previous.patient_id
    if patient is None:
        raise UnexpectedAnswer(
            "The server granted access but names no patient.",
            hint="Ask for the scope launch/patient; if that was asked, the server does not support standalone launch.",
        )
    if not isinstance(patient, str) or _FHIR_ID.fullmatch(patient) is None:
        raise unusable("The token response's patient is no FHIR id.", status=_OK)
    if previous is not None and patient != previous.patient_id:
        raise PatientMismatch(
            "The server renewed the grant for another patient, so this access has ended.",
            hint="Nothing of the other record was read. Tell the server's operator, and connect again.",
        )
    return patient


def lifetime_of(expires_in: object) -> int:
    """Return `expires_in` as whole seconds from 30 s to a day [s].

    Parameters
    ----------
    expires_in : object
        A number, or text as some servers send it; anything else, or nothing, counts as an hour: too long is harmless,
        as a refused token is renewed too.
    """
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float | str):
        return DEFAULT_LIFETIME_S
    try:
        seconds = float(expires_in)
    except (ValueError, OverflowError):
        return DEFAULT_LIFETIME_S
    # Written so that NaN, which compares with nothing, ends at the shortest.
    return int(min(seconds, _LONGEST_S)) if seconds >= _SHORTEST_S else _SHORTEST_S
