"""Discovery: two documents, what they may say, and what is said when they say nothing."""

from __future__ import annotations

import json
import socket
import warnings
from pathlib import Path

import pytest

from s4s_lab.errors import (
    EndpointsDiffer,
    NotDeclared,
    NotReachable,
    NotSmart,
    OriginRefused,
    UnexpectedAnswer,
    UsageError,
)
from s4s_lab.net import HttpClient
from s4s_lab.smart import discover
from tests.wire.smart.server import OAUTH_URIS, Canned, SmartServer, statement_with


def test_the_well_known_document_is_asked_first_and_metadata_always_too(
    server: SmartServer, client: HttpClient
) -> None:
    found = discover(client, server.fhir_url + "/")
    assert [asked.path for asked in server.asked] == ["/fhir/.well-known/smart-configuration", "/fhir/metadata"]
    assert (found.source, found.fhir_url) == ("well-known", server.fhir_url)
    assert found.token_endpoint == f"{server.origin}/token"
    assert found.capability_statement["fhirVersion"] == "3.0.1"
    assert "permission-v1" in found.capabilities


@pytest.mark.clause("S4S-1", "S4S-15")
def test_the_capability_statement_alone_is_enough(server: SmartServer, client: HttpClient) -> None:
    server.well_known = None
    found = discover(client, server.fhir_url)
    assert (found.source, found.authorization_endpoint) == ("metadata", f"{server.origin}/authorize")
    accepted = server.asked_for("/fhir/metadata")[0].headers["accept"]
    assert {"application/fhir+json", "application/json+fhir"} <= {one.split(";")[0] for one in accepted.split(", ")}


@pytest.mark.clause("S4S-1")
def test_the_older_flat_form_of_oauth_uris_is_read(server: SmartServer, client: HttpClient) -> None:
    server.well_known = None
    extension = [
        {"url": f"{OAUTH_URIS}#{name}", "valueUri": f"{server.origin}/{name}"}
        for name in ("register", "authorize", "token")
    ]
    server.statement = {"resourceType": "CapabilityStatement", "rest": [{"security": {"extension": extension}}]}
    found = discover(client, server.fhir_url)
    assert found.authorization_endpoint == f"{server.origin}/authorize"
    assert found.token_endpoint == f"{server.origin}/token"
    assert found.registration_endpoint == f"{server.origin}/register"


def test_different_endpoints_of_one_origin_are_a_warning_that_shows_both(
    server: SmartServer, client: HttpClient
) -> None:
    server.statement = statement_with(authorize=f"{server.origin}/authorize", token=f"{server.origin}/old-token")
    with pytest.warns(EndpointsDiffer, match=r"/token, .*/old-token"):
        found = discover(client, server.fhir_url)
    assert found.token_endpoint == f"{server.origin}/token"


def test_a_spelt_out_default_port_is_no_difference(server: SmartServer, client: HttpClient) -> None:
    assert server.well_known is not None
    server.well_known |= {"authorization_endpoint": "https://ehr.example/a", "token_endpoint": "https://ehr.example/t"}
    server.statement = statement_with(authorize="https://EHR.example:443/a", token="https://ehr.example:443/t")
    assert discover(client, server.fhir_url).token_endpoint == "https://ehr.example/t"


def test_endpoints_of_different_hosts_are_refused_until_allowed(server: SmartServer, client: HttpClient) -> None:
    assert server.well_known is not None
    server.well_known |= {"token_endpoint": "https://elsewhere.example/token"}
    with pytest.raises(OriginRefused, match=r"elsewhere\.example.*allow its origin.*https://elsewhere\.example:443"):
        discover(client, server.fhir_url)
    allowed = frozenset({"https://elsewhere.example:443"})
    with pytest.warns(EndpointsDiffer):
        found = discover(client, server.fhir_url, allowed_origins=allowed)
    assert found.token_endpoint == "https://elsewhere.example/token"


def test_a_server_without_smart_is_told_what_was_looked_for(server: SmartServer, client: HttpClient) -> None:
    server.well_known, server.statement = None, {"resourceType": "CapabilityStatement"}
    with pytest.raises(NotSmart) as caught:
        discover(client, server.fhir_url)
    for part in (
        server.fhir_url,
        "/.well-known/smart-configuration",
        "404",
        "oauth-uris",
        "/metadata",
        "FHIR base URL",
    ):
        assert part in str(caught.value)


def test_a_wrong_address_that_answers_with_a_web_page_is_not_smart(server: SmartServer, client: HttpClient) -> None:
    page = Canned(200, b"<!DOCTYPE html><title>Welcome</title>", {"Content-Type": "text/html"})
    server.canned["/fhir/.well-known/smart-configuration"].append(page)
    server.canned["/fhir/metadata"].append(page)
    with pytest.raises(NotSmart, match=r"no JSON.*no JSON"):
        discover(client, server.fhir_url)


def test_nobody_there_is_not_reachable(client: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(NotReachable, match=str(port)):
        discover(client, f"http://127.0.0.1:{port}/fhir")


def test_plain_http_to_another_machine_is_refused_unasked(client: HttpClient) -> None:
    with pytest.raises(UsageError, match="not encrypted"):
        discover(client, "http://ehr.example/fhir")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://ehr.example/token",
        "http://localhost:80@attacker.example/token",
        "https://user@ehr.example/token",
        "https://ehr.example/token#part",
        "http://0x7f.1/token",
        "ftp://127.0.0.1/token",
        "/token",
        "//ehr.example/token",
        "http://127.0.0.1.evil.example/token",
        "http://localhost.evil.example/token",
        "http://localhostevil.example/token",
        "http://127.0.0.1@evil.example/token",
        "http://[::1]@evil.example/token",
        "http://evil.example#@127.0.0.1/token",
        "http://evil.example?@127.0.0.1/token",
        "http://evil.example/@127.0.0.1/token",
        "http://evil.example\\@127.0.0.1/token",
        "http://2130706433/token",
        "http://017700000001/token",
        "http://127.1/token",
        "http://10.0.0.1/token",
        "http://[fe80::1]/token",
        "https://:443/token",
        "https://ehr.example:0/token",
        "https://ehr.example:99999/token",
        "https://ehr.example:port/token",
        "https://ehr example/token",
        "https://user:secret@ehr.example/token",
        "javascript:alert(1)",
        "file:///etc/passwd",
    ],
)
def test_an_endpoint_that_cannot_be_trusted_is_refused(server: SmartServer, client: HttpClient, endpoint: str) -> None:
    assert server.well_known is not None
    server.well_known |= {"token_endpoint": endpoint}
    server.statement = {"resourceType": "CapabilityStatement"}
    with pytest.raises(UnexpectedAnswer, match="token endpoint"):
        discover(client, server.fhir_url)


def test_missing_metadata_is_a_warning_where_the_well_known_document_serves(
    server: SmartServer, client: HttpClient
) -> None:
    server.statement = None
    with pytest.warns(NotDeclared, match=r"/metadata answered with HTTP status 404"):
        found = discover(client, server.fhir_url)
    assert found.capability_statement == {}


def test_associated_endpoints_become_origins(server: SmartServer, client: HttpClient) -> None:
    assert server.well_known is not None
    server.well_known["associated_endpoints"] = [
        {"url": "https://images.example/fhir", "capabilities": ["smart-imaging-access"]},
        {"url": "http://plain.example/fhir"},
        "nonsense",
    ]
    assert discover(client, server.fhir_url).associated_origins == {"https://images.example:443"}


def test_imaging_endpoints_are_those_that_say_so(server: SmartServer, client: HttpClient) -> None:
    assert server.well_known is not None
    server.well_known["associated_endpoints"] = [
        {"url": "https://images.example/fhir/", "capabilities": ["smart-imaging-access"]},
        {"url": "https://other.example/fhir", "capabilities": ["something-else"]},
    ]
    found = discover(client, server.fhir_url)
    assert found.imaging_endpoints == ("https://images.example/fhir",)
    assert found.associated_origins == {"https://images.example:443", "https://other.example:443"}


def test_a_slash_at_the_end_is_no_other_endpoint(server: SmartServer, client: HttpClient) -> None:
    server.statement = statement_with(authorize=f"{server.origin}/authorize/", token=f"{server.origin}/token/")
    assert discover(client, server.fhir_url + "//").token_endpoint == f"{server.origin}/token"


def test_what_only_the_statement_names_is_taken_at_the_token_endpoints_origin(
    server: SmartServer, client: HttpClient
) -> None:
    assert server.well_known is not None
    del server.well_known["registration_endpoint"]
    both = {"authorize": f"{server.origin}/authorize", "token": f"{server.origin}/token"}
    server.statement = statement_with(
        **both, revoke=f"{server.origin}/revoke", register="https://elsewhere.example/register"
    )
    found = discover(client, server.fhir_url)
    assert (found.revocation_endpoint, found.registration_endpoint) == (f"{server.origin}/revoke", None)


def _real_statement(server: SmartServer, test_data: Path, name: str) -> None:
    server.well_known = None
    server.statement = json.loads((test_data / "fhir" / name).read_bytes())


@pytest.mark.clause("S4S-1")
def test_a_real_stu3_statement_names_its_endpoints(server: SmartServer, client: HttpClient, test_data: Path) -> None:
    _real_statement(server, test_data, "stu3/cms-bb2-webserver/fhir_meta_v1.json")
    found = discover(client, server.fhir_url)
    assert found.authorization_endpoint == "http://localhost:8000/v1/o/authorize/"
    assert found.token_endpoint == "http://localhost:8000/v1/o/token/"


def test_a_real_statement_with_a_token_but_no_authorization_endpoint_is_a_clear_error(
    server: SmartServer, client: HttpClient, test_data: Path
) -> None:
    _real_statement(server, test_data, "r4/inferno-g10/CapabilityStatement.json")
    with pytest.raises(NotSmart, match=r"/metadata, which names other endpoints but no authorization endpoint\."):
        discover(client, server.fhir_url)


def test_a_large_real_statement_without_oauth_uris_is_a_clear_error(
    server: SmartServer, client: HttpClient, test_data: Path
) -> None:
    _real_statement(server, test_data, "r4/smart-launcher-hapi/CapabilityStatement.json")
    with pytest.raises(NotSmart, match="names no authorization endpoint and no token endpoint"):
        discover(client, server.fhir_url)


def test_a_large_real_statement_does_no_harm_beside_a_well_known_document(
    server: SmartServer, client: HttpClient, test_data: Path
) -> None:
    text = (test_data / "fhir/r4/smart-launcher-hapi/CapabilityStatement.json").read_bytes()
    server.canned["/fhir/metadata"].append(Canned(200, text))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = discover(client, server.fhir_url)
    assert found.capability_statement["fhirVersion"] == "4.0.0"
