"""Configurations: shown addresses, odd CapabilityStatements."""

from __future__ import annotations

import pytest

from s4s_lab.smart import SmartConfiguration, begin_launch, shown_server
from s4s_lab.smart.configuration import oauth_uris
from s4s_lab.values import Registration

OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"


@pytest.mark.parametrize(
    ("fhir_url", "shown"),
    [
        ("http://127.0.0.1:40123/fhir", "http://127.0.0.1"),
        ("http://localhost:40123/fhir", "http://localhost"),
        ("http://[::1]:40123/fhir", "http://[::1]"),
        ("https://ehr.example:8443/fhir?x=1", "https://ehr.example:8443/fhir?…"),
    ],
)
def test_a_server_is_shown_the_same_from_run_to_run(fhir_url: str, shown: str) -> None:
    assert shown_server(fhir_url) == shown


def test_a_launch_shows_neither_state_nor_challenge() -> None:
    configuration = SmartConfiguration("http://127.0.0.1:1/fhir", "http://127.0.0.1:1/a", "http://127.0.0.1:1/t")
    assert repr(begin_launch(configuration, Registration("app"))) == "Launch(server=http://127.0.0.1)"


def test_an_authorization_endpoint_keeps_a_query_of_its_own() -> None:
    configuration = SmartConfiguration("https://ehr/fhir", "https://ehr/a?tenant=7", "https://ehr/t")
    assert begin_launch(configuration, Registration("app")).authorize_url.startswith(
        "https://ehr/a?tenant=7&response_type="
    )


@pytest.mark.parametrize(
    "statement",
    [
        {},
        {"rest": None},
        {"rest": "x"},
        {"rest": [None, 7, {"security": None}, {"security": {"extension": "x"}}]},
        {"rest": [{"security": {"extension": [{"url": OAUTH_URIS}, {"url": None}, {}]}}]},
        {"rest": [{"security": {"extension": [{"url": OAUTH_URIS, "extension": [{"url": "token"}]}]}}]},
        {"rest": [{"security": {"extension": [{"url": OAUTH_URIS, "extension": [{"url": "token", "valueUri": 7}]}]}}]},
        {
            "rest": [
                {
                    "mode": "client",
                    "security": {"extension": [{"url": f"{OAUTH_URIS}#token", "valueUri": "https://ehr/t"}]},
                }
            ]
        },
    ],
)
def test_a_statement_without_usable_oauth_uris_names_nothing(statement: dict[str, object]) -> None:
    assert oauth_uris(statement) == {}


def test_the_extension_is_found_behind_others() -> None:
    inner = [{"url": "manage", "valueUri": "https://ehr/m"}, {"url": "token", "valueUri": " https://ehr/t "}]
    extension = [{"url": "http://example.org/other"}, {"url": OAUTH_URIS, "extension": inner}]
    statement = {"rest": [{"mode": "server", "security": {"extension": extension}}]}
    assert oauth_uris(statement) == {"management_endpoint": "https://ehr/m", "token_endpoint": "https://ehr/t"}
