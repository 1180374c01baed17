"""Registrations of our own making: one for all who launch at once, dropped by the server's word only."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from s4s_lab.connection import prepare_launch
from s4s_lab.errors import DatasetBusy, LaunchRefused, UsageError
from s4s_lab.net import HttpClient
from s4s_lab.smart import KeptClient, discover, kept_clients
from tests.wire.smart.browser import redirected_to
from tests.wire.smart.server import Canned, SmartServer

REDIRECT_URI = "http://127.0.0.1:9/callback"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("S4S_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _offer(server: SmartServer, client_id: str) -> None:
    body = {"client_id": client_id, "client_secret": "s4s_sandbox_secret" * 100}
    server.canned["/register"].append(Canned(201, json.dumps(body).encode()))


def _registered(server: SmartServer, redirect_uri: str = REDIRECT_URI) -> str:
    with HttpClient() as client:
        configuration = discover(client, server.fhir_url)
        place = KeptClient.of(configuration, redirect_uri)
        return place.registered(client, configuration, redirect_uri).client_id


def test_notebooks_that_launch_at_once_are_one_client(server: SmartServer) -> None:
    for round_ in range(10):
        for number in range(4):
            _offer(server, f"client-{round_}-{number}")
        with ThreadPoolExecutor(4) as pool:
            uri = f"http://127.0.0.1:{9000 + round_}/callback"
            assert len(set(pool.map(lambda _, uri=uri: _registered(server, uri), range(4)))) == 1
        assert len(server.asked_for("/register")) == round_ + 1
        server.canned["/register"].clear()


def test_one_that_registers_for_long_is_busy(server: SmartServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_clients, "_LOCK_TIMEOUT_S", 0.05)
    _offer(server, "first")
    _registered(server)
    lock = next((home / "clients").glob("*.lock"))
    with FileLock(lock), pytest.raises(DatasetBusy, match=r"\.json locked"):
        _registered(server)


def test_a_place_that_keeps_nothing_is_found_out_before_the_server_is_asked(server: SmartServer, home: Path) -> None:
    home.write_text("a file")
    with pytest.raises(UsageError, match=r"cannot be kept in .*Set S4S_HOME"):
        _registered(server)
    assert server.asked_for("/register") == []


@pytest.mark.parametrize("another", [False, True])
def test_a_registration_that_the_token_endpoint_does_not_know_is_dropped_and_no_newer_one(
    server: SmartServer, free_redirect_uri: str, home: Path, another: bool
) -> None:
    _offer(server, "forgotten")
    pending = prepare_launch(server.fhir_url, redirect_uri=free_redirect_uri)
    kept = next((home / "clients").glob("*.json"))
    server.canned["/token"].append(Canned(401, b'{"error": "invalid_client"}'))
    if another:
        kept.write_text(kept.read_text().replace("forgotten", "made-meanwhile"))
    with pytest.raises(LaunchRefused) as caught:
        pending.answer(redirected_to(pending.authorize_url))
    assert caught.value.error == "invalid_client"
    assert kept.exists() is another
