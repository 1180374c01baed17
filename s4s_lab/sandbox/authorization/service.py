"""The routes of the authorization server, and its SMART configuration."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from s4s_lab.sandbox.archive import Archive
from s4s_lab.sandbox.authorization.clients import AUTH_METHODS, Clients
from s4s_lab.sandbox.authorization.consent import Consent
from s4s_lab.sandbox.authorization.grants import Grants
from s4s_lab.sandbox.authorization.scopes import SUPPORTED
from s4s_lab.sandbox.authorization.tokens import Tokens
from s4s_lab.sandbox.site import Site


def authorization_routes(site: Site, archive: Archive, clients: Clients, grants: Grants) -> list[Route]:
    """Return the routes of the authorization server.

    Parameters
    ----------
    site : Site
        Its addresses.
    archive : Archive
        Whose records there are.
    clients : Clients
        Which apps are known.
    grants : Grants
        Codes and tokens.
    """
    consent = Consent(site, archive, clients, grants)
    tokens = Tokens(site, clients, grants)
    return [
        Route("/oauth/authorize", consent.authorize, methods=["GET"]),
        Route("/oauth/consent", consent.answer, methods=["POST"]),
        Route("/oauth/manage", consent.manage, methods=["GET", "POST"]),
        Route("/oauth/token", tokens.token, methods=["POST"]),
        Route("/oauth/revoke", tokens.revoke, methods=["POST"]),
        Route("/oauth/introspect", tokens.introspect, methods=["POST"]),
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
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "response_types_supported": ["code"],
        "scopes_supported": SUPPORTED,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "capabilities": [
            "launch-standalone",
            "client-public",
            "client-confidential-symmetric",
            "context-standalone-patient",
            "permission-offline",
            "permission-patient",
            "permission-v1",
            "permission-v2",
        ],
    }
