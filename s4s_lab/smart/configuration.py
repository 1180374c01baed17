"""What a server says about its authorization: two documents, read into one `SmartConfiguration`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from s4s_lab.errors import UnexpectedAnswer, UsageError
from s4s_lab.values.origins import base_url, is_loopback, origin_of, require_secure, without_query

# The names inside the CapabilityStatement's extension, and what the well-known document calls the same.
_ENDPOINT_OF = {
    "authorize": "authorization_endpoint",
    "token": "token_endpoint",
    "register": "registration_endpoint",
    "revoke": "revocation_endpoint",
    "introspect": "introspection_endpoint",
    "manage": "management_endpoint",
}
_OPERATOR = "Nothing was sent there; tell the server's operator."
_REQUIRED = ("authorization_endpoint", "token_endpoint")


@dataclass(frozen=True)
class SmartConfiguration:
    """Where and how a FHIR server's authorization is to be had.

    Parameters
    ----------
    fhir_url : str
        The FHIR base URL without trailing slash; what `aud` says in a launch.
    authorization_endpoint, token_endpoint : str
        Where the participant consents, and where a code becomes a token.
    registration_endpoint, revocation_endpoint, introspection_endpoint, management_endpoint : str or None
        None where the server names none.
    issuer : str or None
        What the `iss` of an authorization response has to be (RFC 9207).
    capabilities, scopes_supported : frozenset of str
        As in the well-known document; empty when there is none.
    iss_parameter_supported : bool
        Whether every authorization response carries `iss`.
    associated_origins : frozenset of str
        Origins of `associated_endpoints`, which may receive the same token.
    imaging_endpoints : tuple of str
        FHIR base URLs of the associated endpoints that declare `smart-imaging-access`.
    auth_methods, challenge_methods : frozenset of str
        `token_endpoint_auth_methods_supported` and `code_challenge_methods_supported`; empty where not listed.
    jwks_uri : str or None
        Where the server's public keys are.
    source : {"well-known", "metadata"}
        Which document the endpoints come from.
    capability_statement : mapping
        What `/metadata` answered; empty when it gave no CapabilityStatement.

    References
    ----------
    SMART App Launch 2.2, "Conformance". S4S imaging page, "Server metadata".
    """

    fhir_url: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    management_endpoint: str | None = None
    issuer: str | None = None
    capabilities: frozenset[str] = frozenset()
    scopes_supported: frozenset[str] = frozenset()
    iss_parameter_supported: bool = False
    associated_origins: frozenset[str] = frozenset()
    imaging_endpoints: tuple[str, ...] = ()
    auth_methods: frozenset[str] = frozenset()
    challenge_methods: frozenset[str] = frozenset()
    jwks_uri: str | None = None
    source: Literal["well-known", "metadata"] = "well-known"
    capability_statement: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    @property
    def endpoints(self) -> tuple[str, str]:
        """The authorization and the token endpoint."""
        return self.authorization_endpoint, self.token_endpoint


def shown_server(fhir_url: str) -> str:
    """Return a server's address for a repr that is the same from run to run: on this machine without the port.

    Parameters
    ----------
    fhir_url : str
        FHIR base URL.
    """
    if not is_loopback(fhir_url):
        return without_query(fhir_url)
    return origin_of(fhir_url).rpartition(":")[0]


def oauth_uris(statement: Mapping[str, Any]) -> dict[str, str]:
    """Return the endpoints that a CapabilityStatement's `oauth-uris` extension names, by their well-known names.

    Both forms are read: nested (`extension[url=oauth-uris].extension[url=authorize]`), as the S4S page has it, and the
    older flat one (`extension[url=…/oauth-uris#authorize]`).

    Parameters
    ----------
    statement : mapping
        A CapabilityStatement of STU3 or R4.

    Returns
    -------
    dict of str to str
        For example `{"token_endpoint": "https://…"}`; empty when the statement has no such extension.

    References
    ----------
    SMART App Launch 1.0, "Declaring support for OAuth2 endpoints"; FHIR STU3, `CapabilityStatement.rest.security`.
    """
    found: dict[str, str] = {}
    for extension in _security_extensions(statement):
        url = str(extension.get("url"))
        if url.endswith("/oauth-uris"):
            for inner in _dicts(extension.get("extension")):
                _note(found, str(inner.get("url")), inner)
        elif "/oauth-uris#" in url:
            _note(found, url, extension)
    return found


def _security_extensions(statement: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for rest in _dicts(statement.get("rest")):
        security = rest.get("security")
        if rest.get("mode", "server") == "server" and isinstance(security, dict):
            yield from _dicts(security.get("extension"))


def _note(found: dict[str, str], url: str, extension: Mapping[str, Any]) -> None:
    name = _ENDPOINT_OF.get(url.rpartition("#")[2])
    value = extension.get("valueUri") or extension.get("valueUrl")
    if name and isinstance(value, str):
        found.setdefault(name, value.strip())


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def well_known_endpoints(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the endpoints that a `.well-known/smart-configuration` document names.

    Parameters
    ----------
    document : mapping
        The decoded JSON object.
    """
    named = {name: document.get(name) for name in _ENDPOINT_OF.values()}
    return {name: value.strip() for name, value in named.items() if isinstance(value, str) and value.strip()}


def missing_endpoints(endpoints: Mapping[str, str]) -> list[str]:
    """List which of the endpoints that a launch needs are absent, in words for a message.

    Parameters
    ----------
    endpoints : mapping of str to str
        What one document names.
    """
    return [name.replace("_", " ") for name in _REQUIRED if name not in endpoints]


def configure(
    fhir_url: str,
    endpoints: Mapping[str, str],
    *,
    well_known: Mapping[str, Any] | None,
    capability_statement: Mapping[str, Any],
) -> SmartConfiguration:
    """Build the configuration from what was found, every address checked.

    Parameters
    ----------
    fhir_url : str
        FHIR base URL without trailing slash.
    endpoints : mapping of str to str
        The chosen document's endpoints, both required ones among them.
    well_known : mapping or None
        The well-known document, when the endpoints are its.
    capability_statement : mapping
        What `/metadata` answered.

    Raises
    ------
    UnexpectedAnswer
        If a required endpoint is no https address (loopback may be http), or carries a user name or fragment.
    """
    facts = well_known or {}
    issuer = facts.get("issuer")
    checked: dict[str, Any] = {name: checked_endpoint(name, endpoints[name]) for name in _REQUIRED}
    checked |= {name: url for name, url in endpoints.items() if name not in _REQUIRED and is_usable(url)}
    return SmartConfiguration(
        fhir_url=fhir_url,
        **checked,
        issuer=issuer if isinstance(issuer, str) and issuer else None,
        capabilities=_strings(facts.get("capabilities")),
        scopes_supported=_strings(facts.get("scopes_supported")),
        iss_parameter_supported=facts.get("authorization_response_iss_parameter_supported") is True,
        associated_origins=frozenset(origin_of(url) for url, _ in _associated(facts)),
        imaging_endpoints=tuple(base_url(url) for url, can in _associated(facts) if "smart-imaging-access" in can),
        auth_methods=_strings(facts.get("token_endpoint_auth_methods_supported")),
        challenge_methods=_strings(facts.get("code_challenge_methods_supported")),
        jwks_uri=_usable(facts.get("jwks_uri")),
        source="metadata" if well_known is None else "well-known",
        capability_statement=capability_statement,
    )


def checked_endpoint(name: str, url: str) -> str:
    """Return `url` if a participant or a secret may be sent there.

    Parameters
    ----------
    name : str
        What the endpoint is, for the message.
    url : str
        As the server names it.

    Raises
    ------
    UnexpectedAnswer
        If it is no https address (loopback may be http), or carries a user name or a fragment.

    References
    ----------
    RFC 6749, sections 3.1 and 3.2: TLS, no fragment.
    """
    shown = f"The server names {without_query(url)!r} as its {name.replace('_', ' ')}"
    try:
        parts = urlsplit(require_secure(url))
    except UsageError:
        raise UnexpectedAnswer(f"{shown}: that is no encrypted http address.", hint=_OPERATOR) from None
    if parts.username is not None or parts.fragment:
        raise UnexpectedAnswer(f"{shown}: an endpoint has no user name and no fragment.", hint=_OPERATOR)
    return url


def is_usable(url: str) -> bool:
    """Say whether a participant or a secret may be sent to an address.

    Parameters
    ----------
    url : str
        As the server names it.
    """
    try:
        checked_endpoint("endpoint", url)
    except UnexpectedAnswer:
        return False
    return True


def _strings(value: object) -> frozenset[str]:
    return frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()


def _usable(url: object) -> str | None:
    return url if isinstance(url, str) and is_usable(url) else None


def _associated(document: Mapping[str, Any]) -> list[tuple[str, frozenset[str]]]:
    """Return address and capabilities of the endpoints that take the same token (SMART 2.2, `associated_endpoints`)."""
    named = _dicts(document.get("associated_endpoints"))
    return [(url, _strings(one.get("capabilities"))) for one in named if (url := _usable(one.get("url")))]
