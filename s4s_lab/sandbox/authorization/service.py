"""The routes of the authorization server, and its SMART configuration."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from s4s_lab.sandbox.authorization.clients import AUTH_METHODS
from s4s_lab.sandbox.authorization.consent import Consent
from s4s_lab.sandbox.authorization.scopes import SUPPORTED
from s4s_lab.sandbox.authorization.tokens import Tokens
from s4s_lab.sandbox.site import Site


def authorization_routes(consent: Consent, tokens: Tokens) -> list[Route]:
    """Return the routes of the authorization server.

    Parameters
    ----------
    consent : Consent
        Its pages.
    tokens : Tokens
        Its endpoints without a page.
    """
    return [
        Route("/oauth/authorize", consent.authorize, methods=["GET"]),
        Route("/oauth/consent", consent.answer, methods=["POST"]),
        Route("/oauth/manage", consent.manage, methods=["GET", "POST"]),
        Route("/oauth/token", tokens.token, methods=["POST"]),
        Route("/oauth/revoke", tokens.revoke, methods=["POST"]),
        Route("/oauth/introspect", tokens.introspect, methods=["POST"]),
        Route("/oauth/jwks", tokens.jwks, methods=["GET"]),
        Route("/oauth/register", tokens.register, methods=["POST"]),
    ]


def smart_configuration(site: Site) -> dict[str, Any]:
    """Return the SMART configuration of the FHIR server.

    Parameters
    ----------
    site : Site
        Its addresses.

    References
    ----------
    SMART App Launch 2.2, "Using .well-known"; RFC 8414; RFC 9207, section 3.
    """
    return {
        "issuer": site.fhir_url,
        "authorization_endpoint": site.oauth("authorize"),
        "token_endpoint": site.oauth("token"),
        "registration_endpoint": site.oauth("register"),
        "management_endpoint": site.oauth("manage"),
        "introspection_endpoint": site.oauth("introspect"),
        "revocation_endpoint": site.oauth("revoke"),
        "jwks_uri": site.oauth("jwks"),
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "response_types_supported": ["code"],
        "scopes_supported": SUPPORTED,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "capabilities": [
            "launch-standalone",
            "launch-ehr",
            "client-public",
            "client-confidential-symmetric",
            "client-confidential-asymmetric",
            "context-standalone-patient",
            "context-ehr-patient",
            "sso-openid-connect",
            "permission-offline",
            "permission-patient",
            "permission-v1",
            "permission-v2",
        ],
    }
