"""The errors that apps have to meet, each from a running sandbox, and what our own client tells a person of them."""

from __future__ import annotations

import httpx2
import pytest

from s4s_lab import sandbox
from s4s_lab.connection import Connection, prepare_launch
from s4s_lab.errors import GrantExpired, LaunchRefused, S4SError
from s4s_lab.sandbox.profiles import PROFILES
from tests.journey.conftest import free_port


@pytest.fixture
def redirect_uri() -> str:
    return f"http://127.0.0.1:{free_port()}/callback"


def _read(link: Connection) -> None:
    with link.client() as client:
        client.get(f"{link.fhir_url}/Patient/{link.patient_id}", accept="application/fhir+json")


def test_there_is_one_profile_for_each_simulation_of_the_public_server() -> None:
    assert list(PROFILES) == [
        "s4s",
        "auth_invalid_client_id",
        "auth_invalid_redirect_uri",
        "auth_invalid_scope",
        "auth_invalid_client_secret",
        "token_invalid_token",
        "token_expired_refresh_token",
        "request_invalid_token",
        "request_expired_token",
    ]


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("auth_invalid_client_id", "does not accept this client id.*Invalid client id.*Check the registration"),
        ("auth_invalid_redirect_uri", "Invalid redirect_uri.*Check that client id and redirect URI"),
        ("auth_invalid_scope", "does not grant the scopes.*Ask for fewer scopes"),
        ("auth_invalid_client_secret", "Invalid client secret.*Check the registration"),
        ("token_invalid_token", "Invalid token.*Check the registration"),
    ],
)
def test_a_launch_that_is_refused(redirect_uri: str, profile: str, words: str) -> None:
    with sandbox.start(profile=profile, redirect_uri=redirect_uri) as server:
        pending = prepare_launch(server.fhir_url, server.registration)
        if PROFILES[profile].step == "authorize":
            httpx2.get(pending.authorize_url, follow_redirects=True, trust_env=False)
        else:
            server.approve(pending)
        with pytest.raises(LaunchRefused, match=words):
            pending.wait(10)


@pytest.mark.parametrize(
    ("profile", "error", "words"),
    [
        ("token_expired_refresh_token", GrantExpired, "does not renew this grant.*onnect again"),
        ("request_invalid_token", GrantExpired, "even a renewed one.*onnect again"),
        ("request_expired_token", GrantExpired, "even a renewed one.*onnect again"),
    ],
)
def test_an_access_that_is_refused_later(redirect_uri: str, profile: str, error: type[S4SError], words: str) -> None:
    with sandbox.start(profile=profile, redirect_uri=redirect_uri) as server:
        pending = prepare_launch(server.fhir_url, server.registration)
        server.approve(pending)
        link = pending.wait(10)
        with pytest.raises(error, match=words):
            link.grants.renew(1, link._renewed) if profile.startswith("token") else _read(link)
