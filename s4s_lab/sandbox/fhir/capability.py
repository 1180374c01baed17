"""What the FHIR server says of itself."""

from __future__ import annotations

from typing import Any

from s4s_lab.sandbox.fhir.kinds import KINDS, Kind
from s4s_lab.sandbox.site import Site

OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_SERVICE = "http://hl7.org/fhir/restful-security-service"


def _resource(kind: Kind) -> dict[str, Any]:
    parameters = [{"name": name, "type": "reference"} for name in kind.patient_parameters]
    parameters += [
        {"name": "_id", "type": "token"},
        {"name": "_lastUpdated", "type": "date"},
        {"name": "identifier", "type": "token"},
    ]
    declared: dict[str, Any] = {
        "type": kind.name,
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "versioning": "versioned",
        "readHistory": False,
        "searchParam": parameters,
    }
    if kind.include:
        declared["searchInclude"] = [kind.include]
    return declared


def capability_statement(site: Site, version: str, started: str) -> dict[str, Any]:
    """Return the CapabilityStatement of `/metadata`.

    The `oauth-uris` extension comes first among the security extensions: some clients read only that one.

    Parameters
    ----------
    site : Site
        The server's addresses.
    version : str
        Version of this software.
    started : str
        When the server started, as a FHIR instant.

    References
    ----------
    S4S imaging page, "Server metadata"; FHIR STU3, "CapabilityStatement"; SMART App Launch 1.0, "Conformance".
    """
    uris = [
        {"url": name, "valueUri": site.oauth(name)}
        for name in ("authorize", "token", "register", "manage", "introspect", "revoke")
    ]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": started,
        "publisher": "S4S Lab",
        "kind": "instance",
        "software": {"name": "S4S Lab sandbox", "version": version},
        "implementation": {"description": "Sync for Science reference server", "url": site.fhir_url},
        "fhirVersion": "3.0.1",
        "acceptUnknown": "no",
        "format": ["application/fhir+json"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "extension": [{"url": OAUTH_URIS, "extension": uris}],
                    "service": [{"coding": [{"system": _SERVICE, "code": "SMART-on-FHIR"}], "text": "SMART on FHIR"}],
                },
                "resource": [_resource(kind) for kind in KINDS.values()],
            }
        ],
    }
