"""Who asks, and whether the grant covers it: the same check for FHIR and for images."""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request

from s4s_lab.sandbox.authorization import Grants, Token
from s4s_lab.sandbox.authorization.scopes import covers
from s4s_lab.sandbox.web import FhirRefusal, OAuthRefusal

_REALM = 'Bearer realm="S4S Lab sandbox"'


def bearer(request: Request, grants: Grants) -> Token:
    """Return the access token a request carries.

    Parameters
    ----------
    request : Request
        Any request.
    grants : Grants
        Where tokens are known.

    Raises
    ------
    FhirRefusal
        401 when there is none, or none that is good.

    References
    ----------
    RFC 6750, sections 2.1 and 3.
    """
    scheme, _, offered = request.headers.get("authorization", "").partition(" ")
    if not offered or scheme.lower() != "bearer":
        raise FhirRefusal(401, "login", "An access token is needed.", {"WWW-Authenticate": _REALM})
    try:
        grants.profile.fail_at("data")
    except OAuthRefusal as refusal:
        raise _invalid(refusal.detail) from None
    held = grants.find(offered.strip())
    if held is None or held.kind != "access":
        raise _invalid("The token is unknown, revoked or expired.")
    return held


def _invalid(why: str) -> FhirRefusal:
    challenge = f'{_REALM}, error="invalid_token", error_description="{why}"'
    return FhirRefusal(401, "login", why, {"WWW-Authenticate": challenge})


def require(token: Token, resource_type: str, interaction: Literal["r", "s"]) -> None:
    """Require that a token's scopes cover a resource type.

    Parameters
    ----------
    token : Token
        As returned by `bearer`.
    resource_type : str
        FHIR resource type.
    interaction : {"r", "s"}
        Reading or searching.

    Raises
    ------
    FhirRefusal
        403 when they do not.
    """
    # An Endpoint says where a study's images are: who may read the study may read it.
    enough = (resource_type, "ImagingStudy") if resource_type == "Endpoint" else (resource_type,)
    if not any(covers(token.scope, one, interaction) for one in enough):
        challenge = f'{_REALM}, error="insufficient_scope", scope="patient/{resource_type}.read"'
        text = f"The granted scopes do not cover {resource_type}."
        raise FhirRefusal(403, "forbidden", text, {"WWW-Authenticate": challenge})
