"""A running server and an app that talks to it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from s4s_lab import sandbox
from tests.sandbox.app import App, Reader


@pytest.fixture(scope="session")
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def server() -> Iterator[sandbox.Sandbox]:
    """One server for every test that leaves its records as they are."""
    with sandbox.start(retrieve_s=0) as running:
        yield running


@pytest.fixture
def app(server: sandbox.Sandbox, http: httpx2.Client) -> App:
    return App(server, http)


@pytest.fixture(scope="session")
def reader(server: sandbox.Sandbox, http: httpx2.Client) -> Reader:
    """An app that may read everything of the first participant."""
    return App(server, http).reader()


@pytest.fixture
def fresh(http: httpx2.Client) -> Iterator[App]:
    """An app at a server of its own, whose records may change."""
    with sandbox.start(retrieve_s=0) as running:
        yield App(running, http)
