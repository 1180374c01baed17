"""What the server says of itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.sandbox.app import App, Reader

OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"


@pytest.fixture
def statement(app: App) -> dict[str, Any]:
    answered = app.http.get(f"{app.server.fhir_url}/metadata", headers={"Accept": "application/json+fhir"})
    assert answered.status_code == 200
    assert answered.headers["content-type"] == "application/fhir+json"
    found: dict[str, Any] = answered.json()
    return found


@pytest.mark.clause("S4S-1", "S4S-15")
def test_metadata_is_an_stu3_capability_statement_with_oauth_uris_as_its_first_extension(
    statement: dict[str, Any],
) -> None:
    assert statement["resourceType"] == "CapabilityStatement"
    assert statement["fhirVersion"].startswith("3.0")
    first = statement["rest"][0]["security"]["extension"][0]
    assert first["url"] == OAUTH_URIS
    named = {one["url"]: one["valueUri"] for one in first["extension"]}
    assert set(named) == {"authorize", "token", "register", "manage", "introspect", "revoke"}
    assert all(urlsplit(uri).scheme == "http" for uri in named.values())


def test_metadata_and_smart_configuration_name_the_same_endpoints(statement: dict[str, Any], app: App) -> None:
    answered = app.http.get(f"{app.server.fhir_url}/.well-known/smart-configuration")
    assert answered.headers["content-type"] == "application/json"
    configuration = answered.json()
    extension = statement["rest"][0]["security"]["extension"][0]["extension"]
    named = {one["url"]: one["valueUri"] for one in extension}
    assert configuration["authorization_endpoint"] == named["authorize"]
    assert configuration["token_endpoint"] == named["token"]
    assert configuration["registration_endpoint"] == named["register"]
    assert configuration["management_endpoint"] == named["manage"]
    assert configuration["introspection_endpoint"] == named["introspect"]
    assert configuration["revocation_endpoint"] == named["revoke"]


def test_smart_configuration_holds_what_smart_requires(app: App) -> None:
    configuration = app.http.get(f"{app.server.fhir_url}/.well-known/smart-configuration").json()
    assert configuration["issuer"] == app.server.fhir_url
    assert configuration["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert configuration["code_challenge_methods_supported"] == ["S256"]
    assert configuration["authorization_response_iss_parameter_supported"] is True
    wanted = {"launch-standalone", "client-public", "client-confidential-symmetric", "context-standalone-patient"}
    assert wanted <= set(configuration["capabilities"])


def test_every_declared_search_parameter_changes_what_is_found(statement: dict[str, Any], reader: Reader) -> None:
    nothing = {"_id": "no-such-id", "identifier": "no-such-value", "_lastUpdated": "lt1990"}
    for resource in statement["rest"][0]["resource"]:
        total = reader.search(resource["type"])["total"]
        assert total > 0, resource["type"]
        for parameter in (one["name"] for one in resource["searchParam"]):
            if parameter in nothing:
                assert reader.search(resource["type"], **{parameter: nothing[parameter]})["total"] == 0
            else:
                assert reader.search(resource["type"], **{parameter: reader.patient_id})["total"] == total
                assert reader.get(resource["type"], **{parameter: "somebody-else"}).status_code == 403


def test_every_declared_interaction_works(statement: dict[str, Any], reader: Reader) -> None:
    for resource in statement["rest"][0]["resource"]:
        assert [one["code"] for one in resource["interaction"]] == ["read", "search-type"]
        found = reader.search(resource["type"], _count="1")["entry"][0]["resource"]
        assert reader.get(f"{resource['type']}/{found['id']}").json() == found


@pytest.mark.parametrize("path", ["/fhir/metadata", "/fhir/.well-known/smart-configuration", "/", "/oauth/manage"])
def test_discovery_needs_no_token(app: App, path: str) -> None:
    assert app.http.get(app.root + path).status_code == 200


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json+fhir", 200),
        ("application/fhir+json; charset=utf-8, */*;q=0.1", 200),
        ("application/json", 200),
        ("application/fhir+xml", 406),
        ("application/fhir+json;q=0", 406),
    ],
)
@pytest.mark.clause("S4S-15")
def test_metadata_is_given_as_json_or_not_at_all(app: App, accept: str, status: int) -> None:
    answered = app.http.get(f"{app.server.fhir_url}/metadata", headers={"Accept": accept})
    assert answered.status_code == status
    if status == 406:
        assert answered.json()["issue"][0]["code"] == "not-supported"
