"""Find a server's authorization: the well-known document first, `/metadata` always too."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from s4s_lab.errors import EndpointsDiffer, NotDeclared, NotSmart, OriginRefused, UnexpectedAnswer
from s4s_lab.net import HttpClient
from s4s_lab.smart.configuration import (
    SmartConfiguration,
    checked_endpoint,
    configure,
    is_usable,
    missing_endpoints,
    oauth_uris,
    well_known_endpoints,
)
from s4s_lab.values.origins import base_url, origin_of, require_secure, without_query

WELL_KNOWN_PATH = "/.well-known/smart-configuration"
METADATA_PATH = "/metadata"
_FHIR_JSON = "application/fhir+json, application/json+fhir;q=0.9, application/json;q=0.8"
_STATEMENT_TYPES = {"CapabilityStatement", "Conformance"}


def discover(client: HttpClient, fhir_url: str, *, allowed_origins: frozenset[str] = frozenset()) -> SmartConfiguration:
    """Read how to be authorized at a FHIR server.

    Asks `.well-known/smart-configuration` first and `/metadata` always too. Where both name endpoints, the well-known
    document wins; a difference is a warning, and a difference of origin is refused unless the origin was allowed.

    Parameters
    ----------
    client : HttpClient
        Needs no credentials: both documents are public.
    fhir_url : str
        The FHIR base URL; trailing slashes are dropped.
    allowed_origins : frozenset of str
        Origins that the user allowed, as `values.origins.origin_of` writes them.

    Returns
    -------
    SmartConfiguration
        With the CapabilityStatement that `/metadata` gave.

    Raises
    ------
    UsageError
        If `fhir_url` is no https address (loopback may be http).
    NotReachable
        If nothing answers there.
    NotSmart
        If neither document names an authorization and a token endpoint; the message says what was looked for.
    OriginRefused
        If the two documents name different origins, none of them allowed.
    UnexpectedAnswer
        If an endpoint is not encrypted.

    Warns
    -----
    EndpointsDiffer
        If the two documents name different endpoints of one origin.
    NotDeclared
        If `/metadata` gave no CapabilityStatement.

    References
    ----------
    S4S imaging page, "Server metadata". SMART App Launch 2.2, "Conformance".
    """
    base = require_secure(base_url(fhir_url))
    well_known, well_known_said = _document(client, base + WELL_KNOWN_PATH, "application/json")
    statement, statement_said = _statement(client, base + METADATA_PATH)
    of_well_known, of_statement = well_known_endpoints(well_known), oauth_uris(statement)
    well_known_serves = not missing_endpoints(of_well_known)
    if not well_known_serves and missing_endpoints(of_statement):
        raise NotSmart(
            f"{without_query(base)} declares no SMART on FHIR authorization. Looked for {WELL_KNOWN_PATH}, which "
            f"{well_known_said or _lacks(of_well_known)}, and for the oauth-uris extension in {METADATA_PATH}, which "
            f"{statement_said or _lacks(of_statement)}."
        )
    if statement_said:
        warnings.warn(
            NotDeclared(f"{without_query(base)}{METADATA_PATH} {statement_said}: what the server offers is unknown."),
            stacklevel=2,
        )
    if well_known_serves and not missing_endpoints(of_statement):
        _compare(of_well_known, of_statement, allowed_origins)
    return configure(
        base,
        _completed(of_well_known, of_statement) if well_known_serves else of_statement,
        well_known=well_known if well_known_serves else None,
        capability_statement=statement,
    )


def _document(client: HttpClient, url: str, accept: str) -> tuple[dict[str, Any], str]:
    """Return the JSON object at `url` and an empty text, or nothing and what was there instead."""
    try:
        answer = client.get(url, accept=accept)
    except UnexpectedAnswer:
        return {}, "gave an answer that cannot be used"
    if answer.status != 200:
        return {}, f"answered with HTTP status {answer.status}"
    try:
        document = msgspec.json.decode(answer.body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}, "answered with something that is no JSON"
    return (document, "") if isinstance(document, dict) else ({}, "answered with JSON that is no object")


def _statement(client: HttpClient, url: str) -> tuple[dict[str, Any], str]:
    document, said = _document(client, url, _FHIR_JSON)
    if not said and document.get("resourceType") not in _STATEMENT_TYPES:
        return {}, "answered with JSON that is no CapabilityStatement"
    return document, said


def _lacks(endpoints: Mapping[str, str]) -> str:
    missing = " and no ".join(missing_endpoints(endpoints))
    return f"names {'other endpoints but ' if endpoints else ''}no {missing}"


def _completed(well_known: Mapping[str, str], statement: Mapping[str, str]) -> dict[str, str]:
    """Return the well-known document's endpoints, and what only the other one names at the token endpoint's origin."""
    home = origin_of(checked_endpoint("token_endpoint", well_known["token_endpoint"]))
    more = {name: url for name, url in statement.items() if is_usable(url) and origin_of(url) == home}
    return {**more, **well_known}


def _compare(well_known: Mapping[str, str], statement: Mapping[str, str], allowed_origins: frozenset[str]) -> None:
    for name in ("authorization_endpoint", "token_endpoint"):
        first, second = checked_endpoint(name, well_known[name]), checked_endpoint(name, statement[name])
        if _normal(first) == _normal(second):
            continue
        said = (
            f"The server's two documents name different {name.replace('_', ' ')}s: {WELL_KNOWN_PATH} has "
            f"{without_query(first)}, {METADATA_PATH} has {without_query(second)}."
        )
        if origin_of(first) != origin_of(second) and origin_of(first) not in allowed_origins:
            raise OriginRefused(
                said, hint=f"If the first is right, allow its origin when you connect: {origin_of(first)}"
            )
        warnings.warn(EndpointsDiffer(f"{said} The first is used."), stacklevel=3)


def _normal(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    # A slash too many at the end is no other endpoint.
    return origin_of(url), parts.path.rstrip("/"), parts.query
