"""What a server does with tokens besides giving them: it takes them back, and says what they are good for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from s4s_lab.errors import NotSmart, OriginRefused
from s4s_lab.net import Answer, HttpClient
from s4s_lab.smart.client_requests import ask_as_client
from s4s_lab.smart.configuration import SmartConfiguration
from s4s_lab.smart.token_response import refused, unusable
from s4s_lab.values import Registration, Secret
from s4s_lab.values.origins import origin_of, without_query

_MAX_BYTES = 64 << 10


@dataclass(frozen=True)
class Introspection:
    """What a server says of a token.

    Parameters
    ----------
    active : bool
        Whether it is good now; of one that is not, nothing else is told.
    scope : str
        What it covers.
    client_id, patient_id : str or None
        Whose it is, and whose record it opens.
    expires_at : datetime or None
        When it ends, aware, UTC.

    References
    ----------
    RFC 7662, section 2.2. SMART App Launch 2.2, "Token introspection".
    """

    active: bool
    scope: str = ""
    client_id: str | None = None
    patient_id: str | None = None
    expires_at: datetime | None = None


def revoke(
    client: HttpClient,
    configuration: SmartConfiguration,
    registration: Registration,
    token: Secret,
    *,
    kind: str,
    allowed_origins: frozenset[str] = frozenset(),
) -> None:
    """Have a token taken back; one that the server does not know has ended already.

    Parameters
    ----------
    client : HttpClient
        Needs no credentials of its own.
    configuration : SmartConfiguration
        Of the server.
    registration : Registration
        The client that the token was given to.
    token : Secret
        With a refresh token its access tokens end too.
    kind : str
        `refresh_token` or `access_token`.
    allowed_origins : frozenset of str
        Where the token and the client's proof may go besides the token endpoint's origin.

    Raises
    ------
    NotSmart
        If the server offers no revocation.
    OriginRefused
        If it is offered at an origin that gave no token and was not allowed.
    LaunchRefused
        With the OAuth error code, such as `invalid_client` or `unsupported_token_type`.
    UnexpectedAnswer, NotReachable, Waiting
        If there is no usable answer.

    References
    ----------
    RFC 7009, section 2.
    """
    endpoint = configuration.revocation_endpoint
    if endpoint is None:
        raise NotSmart(
            f"{without_query(configuration.fhir_url)} offers no revocation.",
            hint="The participant can end the permission at the server"
            + (f": {configuration.management_endpoint}" if configuration.management_endpoint else "."),
        )
    _require_at_home("revocation", endpoint, configuration, allowed_origins)
    _asked(client, configuration, registration, endpoint, {"token": token, "token_type_hint": kind})


def introspect(
    client: HttpClient,
    configuration: SmartConfiguration,
    registration: Registration,
    token: Secret,
    *,
    allowed_origins: frozenset[str] = frozenset(),
) -> Introspection:
    """Ask what a token is good for.

    Parameters
    ----------
    client : HttpClient
        Needs no credentials of its own.
    configuration : SmartConfiguration
        Of the server.
    registration : Registration
        The client that asks.
    token : Secret
        Any token.
    allowed_origins : frozenset of str
        As for `revoke`.

    Raises
    ------
    NotSmart
        If the server offers no introspection.
    OriginRefused
        As `revoke`.
    LaunchRefused
        If it does not let this client ask.
    UnexpectedAnswer, NotReachable, Waiting
        If there is no usable answer.

    References
    ----------
    RFC 7662, section 2.
    """
    endpoint = configuration.introspection_endpoint
    if endpoint is None:
        raise NotSmart(
            f"{without_query(configuration.fhir_url)} offers no introspection.",
            hint="What was granted stands in the connection's scope.",
        )
    _require_at_home("introspection", endpoint, configuration, allowed_origins)
    answer = _asked(client, configuration, registration, endpoint, {"token": token})
    try:
        told = msgspec.json.decode(answer.body) if len(answer.body) <= _MAX_BYTES else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("active"), bool):
        raise unusable("The introspection endpoint's answer does not say whether the token is active.")
    return _read(told) if told["active"] else Introspection(active=False)


def _require_at_home(
    name: str, endpoint: str, configuration: SmartConfiguration, allowed_origins: frozenset[str]
) -> None:
    """Check that a service is where the tokens come from: its address may have changed since, and gets them all."""
    there = origin_of(endpoint)
    if there not in {origin_of(configuration.token_endpoint), *map(origin_of, allowed_origins)}:
        raise OriginRefused(
            f"{without_query(configuration.fhir_url)} has its {name} at {there}, which did not give this token.",
            hint=f"Nothing was sent there. If that is right, connect again and allow the origin: {there}",
        )


def _asked(
    client: HttpClient,
    configuration: SmartConfiguration,
    registration: Registration,
    endpoint: str,
    form: dict[str, str | Secret],
) -> Answer:
    """Ask one of the services about a token, as the client that it was given to."""
    answer, _ = ask_as_client(client, endpoint, registration, form, audience=configuration.token_endpoint)
    if answer.status != 200:
        secrets = [value for value in form.values() if isinstance(value, Secret)]
        raise refused(answer, secrets=[*secrets, registration.client_secret])
    return answer


def _read(told: dict[str, Any]) -> Introspection:
    scope = told.get("scope")
    return Introspection(
        active=True,
        scope=scope if isinstance(scope, str) else "",
        client_id=_text(told.get("client_id")),
        patient_id=_text(told.get("patient")),
        expires_at=_moment(told.get("exp")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _moment(value: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else None
    except (ValueError, OverflowError, OSError):
        return None
