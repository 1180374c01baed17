"""A fault server that stays up, a record that changes, and a client that does not let tests wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from s4s_lab.net import HttpClient, Limits, Patience
from tests.faults.server.clock import client_clock
from tests.faults.server.wire import FaultServer, serving
from tests.faults.sync.working import World

# Drips and silence end in parts of a second here, and in the product after minutes.
QUICK = Limits(connect_s=2.0, read_s=0.3, attempt_s=0.6)


@pytest.fixture(scope="session")
def fault_server() -> Iterator[FaultServer]:
    """A server without an application yet."""
    with serving() as server:
        yield server


@pytest.fixture
def world(fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A record behind the server; the client's clock is the true one, and its waits only move that clock."""
    world = World(fault_server)

    def client(**given: Any) -> HttpClient:
        patience = replace(given.pop("patience", Patience()), sleep=world.sleep)
        return HttpClient(**{**given, "patience": patience, "limits": QUICK})

    monkeypatch.setattr("s4s_lab.connection.connection.HttpClient", client)
    monkeypatch.setattr("s4s_lab.sync.pulling.time.sleep", world.sleep)
    with client_clock(lambda: world.record.now):
        yield world
