"""A SMART server and a client for each test."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from s4s_lab.net import HttpClient, Patience
from tests.wire.smart.server import SmartServer


@pytest.fixture
def server() -> Iterator[SmartServer]:
    with SmartServer() as server:
        yield server


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with HttpClient(patience=Patience(budget_s=0.0)) as client:
        yield client


@pytest.fixture
def free_redirect_uri() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}/callback"
